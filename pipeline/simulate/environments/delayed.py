"""Conversions that come up to 30 days later, shaped like display advertising: 35 % within an hour, 50 % within a day.

(Chapelle 2014 has such figures.) The best arm converts slowly and the next best fast, so that whoever takes what
hasn't come yet for what never will prefers the wrong one: `Delayed` has as many decisions as can be told apart in that
time, `DisplayAdvertising` four times as many, so that it is the delays that cost. In `OnlyDelays` arms are equally good
and differ in nothing but their delays.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log

import numpy as np

from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
LONGEST_MS = 30 * DAY_MS
# Shares of conversions within an hour and within a day; slow and fast are as far from the middle.
SLOW, MIDDLE, FAST = (0.15, 0.30), (0.35, 0.50), (0.55, 0.70)
RATES = (0.12, 0.10, 0.08, 0.08, 0.06)
SPEEDS = (SLOW, FAST, MIDDLE, FAST, SLOW)


class Delayed:
    """Five arms; decisions are spread evenly over the days."""

    rates = RATES

    def __init__(self, days: int = 90, decisions: int = 10_000) -> None:
        """Take how long the decisions last."""
        self._step_ms = days * DAY_MS // decisions
        self.setting = Setting(arm_names(len(RATES)), decisions=decisions, window_ms=LONGEST_MS)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        self._order = np.random.default_rng((seed, 0)).permutation(len(RATES))
        self._tape, self._delays = Tape(seed, 1, len(RATES)), Tape(seed, 2, len(RATES))

    def at_ms(self, t: int) -> int:
        """See `Timed`."""
        return t * self._step_ms

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        del t
        return {}

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(self._tape.row(t)[arm] < self.mean(t, arm))

    def delay_ms(self, t: int, arm: int) -> int:
        """See `Delaying`; between the known shares, the delay's logarithm is uniform."""
        hour, day = SPEEDS[self._order[arm]]
        u = float(self._delays.row(t)[arm])
        if u < hour:
            return _between(MINUTE_MS, HOUR_MS, u / hour)
        if u < day:
            return _between(HOUR_MS, DAY_MS, (u - hour) / (day - hour))
        return _between(DAY_MS, LONGEST_MS, (u - day) / (1.0 - day))

    def best(self, t: int) -> int:
        """See `Environment`."""
        del t
        return int(self._order.argmin())

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        del t
        return self.rates[self._order[arm]]

    def is_fast(self, arm: int) -> bool:
        """Whether an arm's conversions come sooner than most."""
        return SPEEDS[self._order[arm]] == FAST


class DisplayAdvertising(Delayed):
    """The same with more visitors a day."""

    def __init__(self, days: int = 90, decisions: int = 40_000) -> None:
        """Take how long the decisions last."""
        super().__init__(days, decisions)


class OnlyDelays(DisplayAdvertising):
    """Five arms that convert equally often, two of them fast."""

    rates = (0.1,) * 5


def _between(low_ms: int, high_ms: int, share: float) -> int:
    return int(exp(log(low_ms) + share * (log(high_ms) - log(low_ms))))
