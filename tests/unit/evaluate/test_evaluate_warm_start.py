from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.evaluate.warm_start import ArmStart, Shown, arm_starts, arm_transfers, with_priors
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.following.snapshot import load_snapshot
from tests.samples import define, plain_policy

POLICY = define(plain_policy())


def test_without_propensities_every_decision_counts_alike_and_is_tempered():
    log = Shown(["a", "a", "b", "a"], np.array([1.0, 0.0, 1.0, 1.0]), None)
    assert arm_starts(log, trust=0.5, limit=1.2) == [
        ArmStart("a", 3, pytest.approx(2 / 3), pytest.approx(3.0), 1.2),
        ArmStart("b", 1, 1.0, 1.0, 0.5),
    ]


def test_with_propensities_a_decision_counts_as_much_as_it_was_unlikely():
    log = Shown(["a", "a"], np.array([1.0, 0.0]), np.array([0.5, 0.1]))
    (start,) = arm_starts(log, trust=1.0, limit=100.0)
    # Weights 2 and 10: a mean of 2 / 12, worth 12² / (4 + 100) decisions.
    assert start.mean == pytest.approx(1 / 6)
    assert start.effective == start.weight == pytest.approx(144 / 104)


def test_an_arm_that_was_shown_to_the_better_visitors_is_seen_through():
    # Half of the visitors buy with 0.8, half with 0.2, whatever the arm; a is shown to the former nine times in ten.
    rng = np.random.default_rng(1)
    is_good = rng.random(20_000) < 0.5
    chance_a = np.where(is_good, 0.9, 0.1)
    is_a = rng.random(20_000) < chance_a
    rewards = (rng.random(20_000) < np.where(is_good, 0.8, 0.2)).astype(float)
    arms = np.where(is_a, "a", "b").tolist()
    weighted = arm_starts(Shown(arms, rewards, np.where(is_a, chance_a, 1 - chance_a)), trust=1.0, limit=1e6)
    naive = arm_starts(Shown(arms, rewards, None), trust=1.0, limit=1e6)
    # Naively 0.9 · 0.8 + 0.1 · 0.2 = 0.74 against 0.26; in truth 0.5 for both.
    assert [start.mean for start in naive] == pytest.approx([0.74, 0.26], abs=0.03)
    assert [start.mean for start in weighted] == pytest.approx([0.5, 0.5], abs=0.05)
    assert all(start.effective < start.decisions / 2 for start in weighted)


def test_a_policy_with_priors_starts_from_them_and_its_statistics_stay_empty():
    starts = [ArmStart("a", 10, 0.25, 8.0, 8.0), ArmStart("elsewhere", 10, 0.9, 9.0, 9.0)]
    definition = parse_policy(with_priors(POLICY, starts), "warm")
    assert [arm.prior is not None for arm in definition.arms] == [True, False]
    snapshot = load_snapshot(build_snapshot(definition, [], {}, 1, ""))
    posterior = snapshot.segments["other"].posterior.parameters
    # Beta(1, 1), and 8 decisions of which 2 were rewarded.
    assert posterior["alpha"].tolist() == [1.0 + 2.0, 1.0]
    assert posterior["beta"].tolist() == [1.0 + 6.0, 1.0]
    assert definition.statistics_hash == POLICY.statistics_hash, "the generation goes on"


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        ([ArmStart("z", 1, 0.5, 1.0, 1.0)], "the log has none of its arms: seen z"),
        ([ArmStart("a", 1, 1.5, 1.0, 1.0)], r"arm a earned 1\.5 a decision in the log"),
    ],
)
def test_a_log_that_does_not_fit_the_policy_is_refused(starts, words):
    with pytest.raises(ConfigError, match=words):
        with_priors(POLICY, starts)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (Shown([], np.zeros(0), None), "holds no decision"),
        (Shown(["a"], np.zeros(1), np.zeros(1)), r"propensity .*0\.0.* of row 0 is not in"),
    ],
)
def test_a_log_that_is_none_is_refused(log, words):
    with pytest.raises(ConfigError, match=words):
        arm_starts(log, trust=1.0, limit=1.0)


def published(policy: Any, rows: dict[tuple[str, str, int], list[int]]) -> dict[str, Any]:
    """Give a snapshot of rows [n, Σr, Σr²] by segment, arm and bucket, r in steps of 2^-15."""
    learned = [(RowKey("homepage", 1, *key), Statistics(0, np.array(sums))) for key, sums in rows.items()]
    return avro.decode_as("snapshot", build_snapshot(policy, learned, {}, 7, ""))


def test_another_policys_arms_start_from_its_decisions_in_all_segments_tempered():
    one = 2**15
    rows = {
        ("other", "a", 0): [6, 2 * one, 2 * one**2],
        ("other", "a", 1): [2, 0, 0],
        ("new", "a", 0): [2, one, one**2],
        ("new", "b", 0): [5_000, 0, 0],
    }
    # a: 3 rewards in 10 decisions; 0.2 of 5,000 is 1,000, above the limit.
    starts = arm_transfers(published(POLICY, rows), temper=0.2, limit=500.0)
    assert starts == [ArmStart("a", 10, 3 / 10, 10.0, 2.0), ArmStart("b", 5_000, 0.0, 5_000.0, 500.0)]


def test_what_another_policy_had_started_from_is_not_handed_on():
    warm = parse_policy(with_priors(POLICY, [ArmStart("a", 10, 0.25, 8.0, 8.0)]), "warm")
    rows = {("other", "a", 0): [4, 2**15, 2**30]}
    assert arm_transfers(published(warm, rows), temper=1.0, limit=1e6) == [ArmStart("a", 4, 0.25, 4.0, 4.0)]


def test_a_policy_that_has_learned_nothing_has_nothing_to_hand_on():
    with pytest.raises(ConfigError, match="snapshot 7 of policy homepage: has learned of no decision"):
        arm_transfers(published(POLICY, {}), temper=0.2, limit=1e3)
