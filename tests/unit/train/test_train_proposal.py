"""A log becomes the policy of the next generation, which learns and decides as any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.cli import train as train_module
from pipeline.errors import ConfigError
from pipeline.evaluate.log import DecisionLog
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.changes import check_change
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.decision.decide import Decided, decide
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.stream.security import SecuredBroker
from pipeline.train.proposal import Proposal, propose
from tests.samples import define, linear_policy, plain_policy
from tests.unit.train.test_train_network import corners


def definition() -> PolicyDefinition:
    context = [{"name": name, "kind": "numeric", "low": -1.0, "high": 1.0} for name in "xy"]
    return define(linear_policy() | {"context": context})


def log_of(m: int, broken: int = 0) -> DecisionLog:
    examples = corners(m, 6)
    contexts: list[dict[str, Any]] = [{"x": row[1] / 4096, "y": row[2] / 4096} for row in examples.vectors.tolist()]
    contexts[:broken] = [{"x": 0.0}] * broken
    return DecisionLog(
        arms=("a", "b"),
        segments=("other",),
        arm=examples.arm,
        segment=np.zeros(m, np.int64),
        reward=examples.reward,
        propensity=np.full(m, 0.5),
        contexts=contexts,
        decided_at_ms=np.arange(m),
        offer=np.zeros(m, np.int64),
        offered=np.ones((1, 2), np.bool_),
        possible=np.ones((1, 2), np.bool_),
        bounds=(0.0, 1.0),
        weight_bound_known=True,
        least_propensity=np.full(m, 0.5),
    )


@pytest.fixture(scope="module")
def found() -> Proposal:
    return propose(definition(), log_of(1_500, broken=7), seed=1)


def test_what_is_proposed_is_the_next_generation_with_an_encoder_and_its_worth(found: Proposal):
    check_change(definition(), found.definition)
    assert found.definition.generation == 2
    assert [layer.units for layer in found.definition.features.encoder.layers] == [64, 32]
    assert (found.decisions, found.refused) == (1_493, 7)
    assert found.error_before > 0.24  # as of the network's own test
    assert found.error_after < 0.12


def test_statistics_on_the_encoder_are_published_and_decided_with(found: Proposal):
    policy, examples = found.definition, corners(1_500, 7)
    vectors = policy.features.encode_many([{"x": row[1] / 4096, "y": row[2] / 4096} for row in examples.vectors])[0]
    rows = []
    for place, arm in enumerate("ab"):
        mine = examples.arm == place
        rewards = np.ldexp(examples.reward[mine], policy.reward_exponent).astype(np.int64)
        sums = contributions(vectors[mine], rewards)
        rows.append((RowKey("homepage", 2, "other", arm, 0), Statistics(policy.dimension, sums)))
    snapshot = load_snapshot(build_snapshot(policy, rows, {}, version=1, parent=""))
    for x, y, best in ((0.5, 0.5, "a"), (-0.5, -0.5, "a"), (0.5, -0.5, "b"), (-0.5, 0.5, "b")):
        context = {"x": x, "y": y, "visits": 9}
        decided = decide(snapshot, "homepage", context, None, rng=np.random.default_rng(1), action_id="x", now_ms=0)
        assert isinstance(decided, Decided)
        assert decided.fallback is None
        assert decided.probabilities[best] > 0.9


def test_a_second_network_is_trained_on_the_features_not_on_the_first(found: Proposal):
    again = propose(found.definition, log_of(300), seed=1)
    assert again.definition.generation == 3
    assert again.definition.features.encoder.layers[0].inputs == 2


@pytest.mark.parametrize(
    ("policy", "decisions", "fault"),
    [
        (plain_policy(), 300, "has no features"),
        (plain_policy(context=linear_policy()["context"]), 300, "looks at no context"),
        (linear_policy(), 300, "settled decisions can be learned from, expected 200"),
    ],
)
def test_a_policy_that_can_not_have_a_network_is_told_why(policy, decisions, fault):
    with pytest.raises(ConfigError) as refused:
        propose(define(policy), log_of(decisions), seed=1)
    assert fault in refused.value.faults[0]


def test_the_command_writes_the_file_that_a_replay_takes(monkeypatch, tmp_path):
    async def read(
        broker: SecuredBroker, policy: str, generation: int | None
    ) -> tuple[PolicyDefinition, DecisionLog, list[str]]:
        assert (broker.servers, policy, generation) == ("here:9", "homepage", None)
        return definition(), log_of(400), []

    monkeypatch.setattr(train_module, "read", read)
    out = tmp_path / "new" / "homepage-2.toml"
    arguments = ["train", "homepage", "--broker", "here:9", "--out", str(out)]
    said = orjson.loads(CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False).stdout)
    policy = load_policy(out.read_text("utf-8"), "written")
    assert policy.generation == 2
    assert (said["generation"], said["decisions"]) == (2, 400)
    assert load_policy(said["policy"], "printed") == policy
