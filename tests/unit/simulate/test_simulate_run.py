"""What a player is told, and when."""
# ruff: noqa: ARG002  a stand-in need not look at all it is asked

from __future__ import annotations

import numpy as np
import pytest

from pipeline.simulate.environment import Setting
from pipeline.simulate.player import Choices
from pipeline.simulate.run import run
from pipeline.simulate.summary import standard_error, summarise


class Script:
    """Two arms; arm 1 is worth 1, and comes `delay_ms` later; arm 0 is worth nothing. Decisions are a second apart."""

    def __init__(self, delay_ms: int | None = None, window_ms: int = 3_000) -> None:
        self.setting = Setting(("a", "b"), window_ms=window_ms)
        if delay_ms is not None:
            self.delay_ms = lambda _t, _arm: delay_ms

    def reset(self, seed: int) -> None:
        pass

    def context(self, t: int) -> dict[str, object]:
        return {}

    def reward(self, t: int, arm: int) -> float:
        return float(arm)

    def best(self, t: int) -> int:
        return 1

    def mean(self, t: int, arm: int) -> float:
        return float(arm)


class Recorder:
    """Chooses as it is told, and writes down what it learns."""

    name = "recorder"

    def __init__(self, arms: list[int], settle: str) -> None:
        self.settle = settle
        self._arms = np.array(arms)
        self.seen: list[tuple[int, list[tuple[int, bool, float, float]]]] = []
        self.asked: list[list[int]] = []

    def choose(self, moments) -> Choices:
        self.asked.append(moments.places.tolist())
        return Choices(self._arms[moments.places], np.full(len(moments.places), 0.5))

    def learn(self, news) -> None:
        rows = zip(*(column.tolist() for column in news[:4]), strict=True)
        self.seen.append((len(self.asked), list(rows)))


def test_what_has_no_delay_is_learned_before_the_next_batch():
    player = Recorder([0, 1, 1, 0, 1], "optimistic")
    done = run(Script(), player, 5, refresh=2)
    assert player.asked == [[0, 1], [2, 3], [4]]
    assert player.seen == [
        (1, [(0, True, 0.0, 0.0), (1, True, 0.0, 1.0)]),
        (2, [(2, True, 0.0, 1.0), (3, True, 0.0, 0.0)]),
        (3, [(4, True, 0.0, 1.0)]),
    ]
    assert done.regrets.tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert (done.total_regret, done.mean_reward) == (2.0, 0.6)


def test_an_optimist_counts_nothing_at_once_and_is_corrected_when_the_reward_comes():
    # t=0 shows b at second 0; its reward comes at second 2, before the batch of t=2 is decided.
    player = Recorder([1, 0, 0, 0], "optimistic")
    run(Script(delay_ms=2_000), player, 4)
    assert player.seen == [
        (1, [(0, True, 0.0, 0.0)]),
        (2, [(1, True, 0.0, 0.0)]),
        (2, [(0, False, 0.0, 1.0)]),
        (3, [(2, True, 0.0, 0.0)]),
        (4, [(3, True, 0.0, 0.0)]),
    ]


def test_who_waits_counts_a_decision_when_its_window_has_closed():
    # Windows of 3 s: t=0 closes when t=3 is decided, t=1 when t=4 is.
    player = Recorder([1, 0, 0, 0, 0], "wait")
    run(Script(delay_ms=2_000), player, 5)
    assert player.seen == [(3, [(0, True, 0.0, 1.0)]), (4, [(1, True, 0.0, 0.0)])]


def test_what_comes_after_the_window_is_never_learned_but_was_earned():
    for settle in ("wait", "optimistic"):
        player = Recorder([1] * 9, settle)
        done = run(Script(delay_ms=4_000), player, 9)
        assert all(after == 0.0 for _, rows in player.seen for *_, after in rows), settle
        assert done.mean_reward == 1.0


def test_summaries_are_means_with_standard_errors():
    runs = [run(Script(), Recorder(arms, "wait"), 4) for arms in ([0, 0, 1, 1], [1, 1, 1, 1])]
    summary = summarise("script", "recorder", runs)
    # Regrets 2 and 0: a mean of 1, and a standard error of sqrt(2) / sqrt(2).
    assert (summary.regret, summary.regret_error) == (1.0, 1.0)
    assert summary.rewards.tolist() == [0.5, 1.0]
    assert summary.at.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert summary.curves.tolist() == [[1.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]]
    assert summary.best_shares.tolist() == [1.0, 1.0]
    assert standard_error(np.array([5.0])) == 0.0


def test_a_log_that_nobody_knows_the_best_arm_of_has_rewards_but_no_regret():
    class Unknown(Script):
        def reward(self, t: int, arm: int) -> float | None:
            return 1.0 if t % 2 else None

        def best(self, t: int) -> None:
            return None

    summary = summarise("log", "recorder", [run(Unknown(), Recorder([0] * 10, "optimistic"), 10)])
    assert not summary.has_regret
    assert summary.to_plain()["regret"] is None
    assert (summary.known, summary.rewards.tolist()) == (5, [1.0])
    assert summary.to_plain()["reward_error"] == pytest.approx(0.0)
