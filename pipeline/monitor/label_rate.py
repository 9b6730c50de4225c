"""Whether outcomes have stopped, or jump: what comes in, against what decisions of the time are worth by all before.

A look lasts until it could tell a stop. What it compares, in units of reward:

    came      Σr that was added
    expected  Σ over rows of (decisions added × mean of the row when the look began), and its variance: rewards within
              [low, high] of mean μ have at most (μ − low)(high − μ) (Bhatia and Davis 2000), all of it where each is
              one of both

An outcome comes up to an attribution window after its decision, so the expectations of all looks within one count: what
came is a stop below the least of them, a jump above the largest. Either has to be so by a factor that the policy
declares, and by `DEVIATIONS` standard deviations: looks are many, and nobody is woken by chance
(ops/decisions/0074-monitors.md has the rate). While it lasts, means stay those from before it; what a stop has kept
back may come at once after it, and is no jump.

Not judged: a policy whose mean reward is not above 0, and jumps while half of all decisions are younger than a window,
since what comes of them has not come yet.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pipeline.monitor.totals import Totals
from pipeline.policy.monitors import LabelRateRule

DEVIATIONS = 6.0
"""A chance of 1e-9 a look where sums are near normal; the factor makes it less where they are not."""
FEWEST = 1_000
"""Decisions that a mean has to stand on; with fewer in all, nothing is expected."""
ROW_FEWEST = 100
"""Below it, a row's mean is that of all rows."""
MOST_LOOKS = 1_008
"""That are remembered: a week of looks of ten minutes."""

State = Literal["ok", "stopped", "jumped"]


class Look(NamedTuple):
    """One finished look."""

    state: State
    came: float
    expected: float
    """By the decisions of the look itself."""
    least: float
    """What was to be expected at the least."""
    most: float
    """And at the most."""
    seconds: float


class _Pace(NamedTuple):
    """What is expected in a second."""

    ended_s: float
    mean: float
    variance: float


@dataclass(slots=True)
class LabelRate:
    """What was seen of one policy; rewards lie within [low, high]."""

    low: float
    high: float
    window_s: float
    """The longest attribution window."""
    state: State = "ok"
    last: Look | None = None
    _began: tuple[float, Totals] | None = None
    _means: tuple[dict[tuple[str, str], float], float] = field(default_factory=lambda: ({}, 0.0))
    _owed: float = 0.0
    """What a stop has kept back."""
    _paces: deque[_Pace] = field(default_factory=lambda: deque(maxlen=MOST_LOOKS))

    def see(self, now_s: float, totals: Totals, rule: LabelRateRule) -> Look | None:
        """Take in the sums of a moment; return the look that this ends, if it does."""
        if self._began is None:
            self._begin(now_s, totals)
            return None
        began_s, before = self._began
        added, seconds = totals.since(before), now_s - began_s
        if before.count < FEWEST or min(added.counts.values(), default=0) < 0 or added.count > before.count:
            # Too little to expect anything of; a person was forgotten; a replay was put under it: begin anew.
            self._begin(now_s, totals)
            return None
        if seconds * 1000 < rule.look_ms:
            return None
        now = self._expected(added, now_s, seconds)
        within = [pace for pace in self._paces if pace.ended_s >= now_s - seconds - self.window_s]
        least = min([now, *within], key=lambda pace: pace.mean)
        most = max([now, *within], key=lambda pace: pace.mean)
        if (1.0 - rule.low) * least.mean * seconds < DEVIATIONS * math.sqrt(least.variance * seconds):
            return None
        is_ripe = added.count / seconds * self.window_s <= before.count / 2
        look = self._judged(
            sum(added.rewards.values()), least, most, seconds, rule, now.mean * seconds, is_ripe=is_ripe
        )
        self.state, self.last = look.state, look
        self._owed = self._owed + look.most - look.came if look.state == "stopped" else 0.0
        self._paces.append(now)
        if look.state == "ok":
            self._begin(now_s, totals)
        else:
            self._began = (now_s, totals)
        return look

    def _begin(self, now_s: float, totals: Totals) -> None:
        self._began = (now_s, totals)
        count = totals.count
        overall = sum(totals.rewards.values()) / count if count else self.low
        self._means = (
            {row: totals.rewards[row] / n for row, n in totals.counts.items() if n >= ROW_FEWEST},
            overall,
        )

    def _expected(self, added: Totals, now_s: float, seconds: float) -> _Pace:
        by_row, overall = self._means
        mean = variance = 0.0
        for row, n in added.counts.items():
            mu = min(max(by_row.get(row, overall), self.low), self.high)
            mean += n * mu
            variance += n * (mu - self.low) * (self.high - mu)
        return _Pace(now_s, mean / seconds, variance / seconds)

    def _judged(
        self,
        came: float,
        least: _Pace,
        most: _Pace,
        seconds: float,
        rule: LabelRateRule,
        expected: float,
        *,
        is_ripe: bool,
    ) -> Look:
        low, high = least.mean * seconds, most.mean * seconds
        state: State = "ok"
        if came < rule.low * low and low - came > DEVIATIONS * math.sqrt(least.variance * seconds):
            state = "stopped"
        elif (
            is_ripe
            and came - self._owed > rule.high * high
            and came - self._owed - high > DEVIATIONS * math.sqrt(most.variance * seconds)
        ):
            state = "jumped"
        return Look(state, came, expected, low, high, seconds)
