"""The figures of a step: subjects of both policies since it began, by the report's own mathematics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.evaluate.ledger import Entry
from pipeline.events import Decision
from pipeline.rollout.figures import Step, figures_of, names_of

SINCE_MS = 1_000_000
PLAIN = Decision(
    *("x", "homepage", 1, "all", "a", 0.5, ("a", "b"), (0.5, 0.5), {}, b"", ""),
    decided_at_ms=SINCE_MS,
    snapshot_version=3,
    snapshot_id="",
    subject_hash=None,
    reason="policy",
)
STEP = Step(SINCE_MS, SINCE_MS + 7_200_000, 0.2, (0.0, 1.0), ("click", "refund"))


def entry(
    number: int, reward: float = 0.0, kinds: tuple[str, ...] = (), *, is_settled: bool = True, **others: Any
) -> Entry:
    decision = PLAIN._replace(action_id=f"x{number}", **others)
    return Entry(1, is_settled, reward, "all", decision, kinds=kinds)


def people(rate: float, count: int, first: int, **others: Any) -> Iterator[Entry]:
    """Exactly so many of them earn 1."""
    for number in range(count):
        yield entry(first + number, float(number < rate * count), subject_hash=f"{first + number:032x}", **others)


def test_a_better_policy_has_a_lift_surely_above_nothing_and_a_worse_one_below():
    # 2,000 × 0.30 against 8,000 × 0.20: the difference's standard error is
    # sqrt(.3·.7/2000 + .2·.8/8000) = 0.0112, so 0.1 is 9 of them and the widest interval here is about 4.
    better = figures_of(people(0.3, 2_000, 0), people(0.2, 8_000, 10_000), STEP)
    assert better["lift.value"] == pytest.approx(0.1)
    assert 0.1 - 5 * 0.0112 < better["lift.low"] < better["lift.once.low"] < 0.1 < better["lift.high"]
    assert better["lift.low"] > 0
    assert figures_of(people(0.2, 2_000, 0), people(0.3, 8_000, 10_000), STEP)["lift.high"] < 0
    same = figures_of(people(0.2, 2_000, 0), people(0.2, 8_000, 10_000), STEP)
    assert same["lift.low"] < 0 < same["lift.high"]


def test_shares_as_declared_are_sound_and_others_are_found():
    assert figures_of(people(0.2, 2_000, 0), people(0.2, 8_000, 10_000), STEP)["srm.p_value"] > 0.5
    uneven = figures_of(people(0.2, 3_000, 0), people(0.2, 8_000, 10_000), STEP)
    # 3,000 of 11,000 where 2,200 are expected, with a deviation of sqrt(11,000 · .2 · .8) = 42: nineteen of them.
    assert uneven["srm.p_value"] < 1e-6
    assert uneven["share.seen"] == pytest.approx(3 / 11)


def test_what_came_before_the_step_or_is_open_or_held_out_or_without_a_snapshot_counts_nowhere():
    counted = list(people(0.5, 10, 0))
    left_out = [
        entry(100, 1.0, decided_at_ms=SINCE_MS - 1),
        entry(101, 1.0, is_settled=False),
        entry(102, 1.0, reason="holdout"),
        entry(103, 1.0, snapshot_version=0, reason="fallback"),
        Entry(revision=1, is_settled=True, reward=1.0, segment="all", decision=None),
    ]
    with_them = figures_of([*counted, *left_out], [*people(0.5, 40, 1_000), *left_out], STEP)
    assert with_them == figures_of(counted, people(0.5, 40, 1_000), STEP)
    assert with_them["subjects.new"] == 10


def test_an_outcome_kind_is_told_apart_from_rewards():
    new = [entry(i, 0.5, ("click", "refund") if i % 10 == 0 else ("click",)) for i in range(2_000)]
    old = [entry(10_000 + i, 0.5, ("click",)) for i in range(8_000)]
    found = figures_of(new, old, STEP)
    assert found["kind.refund.value"] == pytest.approx(0.1)
    assert found["kind.refund.low"] > 0
    assert found["kind.click.value"] == 0
    assert found["lift.value"] == 0


def test_a_subject_is_one_unit_however_often_it_comes():
    once = figures_of(people(0.3, 200, 0), people(0.2, 800, 10_000), STEP)
    often = figures_of([one for one in people(0.3, 200, 0) for _ in range(50)], [*people(0.2, 800, 10_000)] * 50, STEP)
    assert often["subjects.new"] == 200
    assert often["lift.low"] == pytest.approx(once["lift.low"], rel=0.05)


def test_nothing_is_known_of_nobody_and_every_name_is_there():
    found = figures_of([], [], STEP)
    assert set(found) == set(names_of(STEP.kinds))
    assert found["lift.low"] is found["srm.p_value"] is found["reward.new"] is None
    assert found["hours"] == 2.0
