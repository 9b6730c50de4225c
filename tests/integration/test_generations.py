"""Every tool that reads a policy's past, across a promotion: one history, or that of the generation asked for.

generation   1 (400 decisions, v1, v2) ──promoted──▶ 2 (300 decisions, v3 on the same sums and its own)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from pipeline.brokers import running_broker
from pipeline.cli import cli
from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DECISIONS, POLICIES, REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS
from tests.samples import CLICK, LIKE, define, linear_policy, plain_decision, plain_policy

ONE = 1 << 15
COUNTS = {1: 400, 2: 300}
"""Decisions by generation."""
Plain = dict[str, Any]


def generations(plain: Callable[..., Plain], name: str) -> list[PolicyDefinition]:
    """The second counts a click for a shorter time: by its rules the past can be told."""
    one = plain(name=name, generation=1, guardrails={"control": "a", "holdout": {"share": 0.2}})
    two = plain(name=name, generation=2, guardrails={"control": "a", "holdout": {"share": 0.2}})
    kinds = [CLICK | {"window": "5s"}, LIKE]
    two["reward"] |= {"outcomes": [*kinds, *two["reward"]["outcomes"][2:]]}
    return [define(one), define(two)]


BETA = generations(plain_policy, "plain")
LINEAR = generations(linear_policy, "by-context")


def reward(definition: PolicyDefinition, number: int) -> tuple[Plain, bytes]:
    is_held, is_won = number % 5 == 0, number % 3 == 0
    arm = "a" if is_held or number % 2 else "b"
    action = f"{definition.name}-{definition.generation}-{number}"
    decision = plain_decision(
        action,
        number * 60_000,
        policy=definition.name,
        generation=definition.generation,
        arm=arm,
        propensity=1.0 if is_held else 0.5,
        eligible=["a", "b"],
        probabilities=[1.0, 0.0] if is_held else [0.5, 0.5],
        context={"x": (number % 7) / 7.0, "y": number % 9} if definition.dimension else {},
        subject_hash=f"s{number}",
        snapshot_version=definition.generation,
        reason="holdout" if is_held else "policy",
    )
    outcome = {"outcome_id": f"{action}-o", "kind": "click", "value": 1.0, "occurred_at_ms": number * 60_000 + 1_000}
    fields = {
        "action_id": action,
        "revision": 2,
        "is_settled": True,
        "policy": definition.name,
        "generation": definition.generation,
        "segment": "other",
        "arm": arm,
        "reward": round(is_won * definition.reward.outcomes[0].worth * 2**definition.reward_exponent),
        "reward_exponent": definition.reward_exponent,
        "context_vector": b"",
        "decided_at_ms": number * 60_000,
        "bucket": 0,
        "expires_at_ms": 60_000,
        "event_time_ms": 10_000,
        "attribution": definition.statistics_hash,
        "outcomes": [outcome] if is_won else [],
        "decision": orjson.dumps(decision),
        "is_erased": False,
        "is_reward_final": False,
    }
    return fields, orjson.dumps(decision)


def snapshots(pair: list[PolicyDefinition]) -> list[bytes]:
    """Three versions: two of the first generation, one of the second, which counts the past as well."""
    found = []
    for version, (definition, count) in enumerate(((pair[0], 200), (pair[0], 400), (pair[1], 700)), start=1):
        sums = Statistics(definition.dimension, np.zeros(len(empty(definition)), np.int64))
        rows = [
            (RowKey(definition.name, definition.generation, "other", arm, 0), sums + counted(definition, count // 2))
            for arm in "ab"
        ]
        found.append(build_snapshot(definition, rows, {0: Mark(count, count * 60_000)}, version, ""))
    return found


def empty(definition: PolicyDefinition) -> list[int]:
    d = definition.dimension
    return [0] * (3 + d + d * (d + 1) // 2)


def counted(definition: PolicyDefinition, count: int) -> Statistics:
    sums = empty(definition)
    one = 2**definition.reward_exponent
    sums[:3] = [count, count // 3 * one, count // 3 * one * one]
    return Statistics(definition.dimension, np.array(sums, np.int64))


async def _fill(bootstrap_servers: str) -> None:
    outbox = Outbox(bootstrap_servers)
    await outbox.start()
    try:
        for pair in (BETA, LINEAR):
            told = [reward(one, number) for one in pair for number in range(COUNTS[one.generation])]
            await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields, _ in told)
            await outbox.deliver(Record(DECISIONS, 0, b"x", decision) for _, decision in told)
            key = pair[0].name.encode()
            published = snapshots(pair)
            await outbox.deliver(Record(SNAPSHOT_HISTORY, 0, key, content) for content in published)
            await outbox.deliver([Record(SNAPSHOTS, 0, key, published[-1])])
            for one in pair:
                stored = {"name": one.name, "generation": one.generation, "definition": to_canonical_json(one).decode()}
                await outbox.deliver(
                    [Record(POLICIES, 0, key + b"/%d" % one.generation, avro.encode("policy", stored))]
                )
    finally:
        await outbox.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory):
    with running_broker("embedded", cache_dir=tmp_path_factory.mktemp("broker")) as started:
        asyncio.run(_fill(started.bootstrap_servers))
        yield started.bootstrap_servers


def run(broker: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--broker", broker])


# Of what a tool says, the number of decisions that it stands on. A fifth is held out, of which a log says nothing.
TOOLS: dict[str, tuple[tuple[str, ...], Callable[[Any], int], float]] = {
    "report": (("report", "plain"), lambda found: sum(one["decisions"] for one in found["groups"].values()), 1.0),
    "evaluate": (("evaluate", "plain", "--target", "uniform"), lambda found: found["decisions"], 0.8),
    "analyze": (("analyze", "by-context"), lambda found: found["decisions"], 0.8),
    "advise by context": (("advise", "by-context"), lambda found: found["decisions"], 0.8),
    "advise": (
        ("advise", "plain"),
        lambda found: sum(arm["count"] for arm in found["segments"][0]["arms"]),
        1.0,
    ),
    "train": (("train", "by-context"), lambda found: found["decisions"] + found["refused"], 0.8),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_reads_across_a_promotion_takes_a_generation_and_never_says_0_for_unknown(
    tool: str, broker: str
) -> None:
    arguments, count_of, part = TOOLS[tool]
    asked = {None: sum(COUNTS.values()), 1: COUNTS[1], 2: COUNTS[2]}
    for generation, count in asked.items():
        option = () if generation is None else ("--generation", str(generation))
        done = run(broker, *arguments, *option, "--json")
        assert done.exit_code in (0, 1), done.stderr
        assert done.stdout, (option, done.stderr)
        expected = round(part * count)
        if tool == "advise" and generation == 2:  # a generation's statistics hold what a replay counted into it
            expected = sum(COUNTS.values())
        assert count_of(orjson.loads(done.stdout)) == expected, (tool, generation)
    unknown = run(broker, *arguments, "--generation", "9", "--json")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert isinstance(unknown.exception, ConfigError)
    assert "generation 9" in str(unknown.exception)
    assert ": 1, 2" in str(unknown.exception)


def test_two_versions_on_both_sides_of_a_promotion_are_told_apart_by_their_generation(broker: str) -> None:
    found = orjson.loads(run(broker, "snapshot", "diff", "plain", "2", "3", "--json").stdout)
    changed = {one["where"]: (one["before"], one["after"]) for one in found["definition"]}
    assert changed["generation"] == (1, 2)
    assert ("10s", "5s") in changed.values()


def test_a_report_in_words_and_its_picture_are_of_the_same_history(broker: str, tmp_path: Path) -> None:
    words = run(broker, "report", "plain", "--picture", str(tmp_path / "lift.png")).stdout
    assert "policy: " in words
    assert "560 decisions of 320 subjects" in words  # subjects came under both generations
    assert (tmp_path / "lift.png").stat().st_size > 0
