"""Outcomes that stop or jump are told within a look; what is life is not told."""

from __future__ import annotations

import pytest

from pipeline.monitor.label_rate import LabelRate
from pipeline.monitor.totals import Totals
from pipeline.policy.monitors import LabelRateRule

RULE = LabelRateRule()
LOOK_S = RULE.look_ms / 1000
PER_LOOK = 1_000
"""Decisions; one in ten earns 1, so 100 are expected with a deviation of √(1000 × 0.1 × 0.9) = 9.5, and a look can tell
a stop: 0.8 × 100 > 6 × 9.5."""


class Line:
    """A policy with two arms of one segment, told look by look."""

    def __init__(self, low: float = 0.0, high: float = 1.0, window_s: float = LOOK_S) -> None:
        self.rate = LabelRate(low, high, window_s)
        self.now_s = 0.0
        self.counts = {("all", "a"): 50_000, ("all", "b"): 50_000}
        self.rewards = {("all", "a"): 5_000.0, ("all", "b"): 5_000.0}
        self.see()

    def see(self) -> str | None:
        look = self.rate.see(self.now_s, Totals(dict(self.counts), dict(self.rewards)), RULE)
        return None if look is None else look.state

    def go_on(self, share: float, decisions: int = PER_LOOK, seconds: float = LOOK_S) -> str | None:
        """Let a look pass in which `share` of what is expected comes."""
        self.now_s += seconds
        for row in self.counts:
            self.counts[row] += decisions // 2
            self.rewards[row] += share * decisions / 20
        return self.see()


def test_what_comes_as_ever_is_nothing_to_tell():
    line = Line()
    assert [line.go_on(share) for share in (1.0, 0.9, 1.2, 1.0)] == ["ok"] * 4


def test_outcomes_that_stop_are_told_at_the_end_of_the_look():
    line = Line()
    assert [line.go_on(share) for share in (1.0, 0.0, 0.0)] == ["ok", "stopped", "stopped"]
    assert line.rate.last is not None
    # 1,000 decisions at the mean of the last good look's end: 10,100 of 101,000.
    assert line.rate.last.expected == pytest.approx(100.0)


def test_outcomes_that_jump_are_told():
    line = Line()
    assert [line.go_on(share) for share in (1.0, 8.0)] == ["ok", "jumped"]


def test_it_is_over_when_they_come_as_before_and_not_as_during_it():
    line = Line()
    # A hundred looks without any: were they part of what is expected, expectations would have fallen.
    assert {line.go_on(0.0) for _ in range(100)} == {"stopped"}
    assert line.rate.last is not None
    assert line.rate.last.expected == pytest.approx(100.0)
    assert line.go_on(1.0) == "ok"


def test_what_a_stop_kept_back_may_come_at_once_after_it():
    line = Line()
    assert [line.go_on(0.0) for _ in range(10)] == ["stopped"] * 10
    assert line.go_on(11.0) == "ok"
    assert line.go_on(11.0) == "jumped"


def test_of_less_traffic_longer_is_looked_at():
    line = Line()
    assert line.go_on(1.0) == "ok"
    # Of k × 100 decisions 10 k are expected, with a deviation of 3 √k: 8 k ≥ 6 × 3 √k, and a stop is told, from k = 6.
    assert [line.go_on(0.0, decisions=100) for _ in range(6)] == [None] * 5 + ["stopped"]


def test_outcomes_of_a_busy_hour_that_come_in_a_quiet_one_are_no_jump():
    line = Line(window_s=3 * LOOK_S)
    assert line.go_on(1.0, decisions=20_000) == "ok"
    # 1,000 decisions, and what is left of the 20,000: twelve times what the thousand are worth.
    assert line.go_on(12.0) == "ok"


def test_before_what_young_decisions_bring_has_come_nothing_is_a_jump():
    line = Line(window_s=86_400.0)
    # A thousand decisions in ten minutes are 144,000 in a window: more than half of the 100,000 that there are.
    assert line.go_on(8.0) == "ok"
    assert line.go_on(0.0) == "stopped"


def test_of_few_decisions_nothing_is_expected():
    rate = LabelRate(0.0, 1.0, 0.0)
    for look in range(10):
        told = rate.see(look * LOOK_S, Totals({("all", "a"): look * 50}, {("all", "a"): float(look % 2)}), RULE)
        assert told is None


def test_a_person_who_is_forgotten_and_a_replay_begin_it_anew():
    line = Line()
    line.counts["all", "a"] -= 1
    line.now_s += LOOK_S
    assert line.see() is None
    line.counts = {row: n * 10 for row, n in line.counts.items()}
    line.now_s += LOOK_S
    assert line.see() is None
    assert line.rate.state == "ok"


def test_arms_are_compared_each_with_its_own_past():
    line = Line()
    line.rewards["all", "b"] = 500.0
    line.go_on(1.0)
    line.go_on(1.0)
    # Only the arm that earns a tenth is shown from now on, and earns just that: the mean falls, nothing has stopped.
    line.now_s += LOOK_S
    line.counts["all", "b"] += 20_000
    line.rewards["all", "b"] += 20_000 * line.rewards["all", "b"] / line.counts["all", "b"]
    assert line.see() == "ok"
