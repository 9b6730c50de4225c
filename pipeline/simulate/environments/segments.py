"""Visitors of several kinds, each with another best arm: the smallest kind has the least to learn from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names

NAMES = ("new", "returning", "premium", "partner")
SHARES = (0.5, 0.3, 0.15, 0.05)


class Segments:
    """Four kinds of visitor, some arms; arms that are good for one kind tend to be good for others."""

    def __init__(self, arms: int = 6, spread: float = 0.06, decisions: int = 10_000) -> None:
        """Take how many arms there are, and the standard deviation of a kind's rate around the arm's own."""
        self._arms, self._spread = arms, spread
        rules = [{"name": name, "when": {"kind": {"equals": name}}} for name in NAMES]
        self.setting = Setting(arm_names(arms), segments={"default": "other", "rules": rules}, decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        rng = np.random.default_rng((seed, 0))
        own = rng.beta(4.0, 16.0, self._arms)
        self._rates = np.clip(own + self._spread * rng.standard_normal((len(NAMES), self._arms)), 0.01, 0.99)
        self._edges = np.cumsum(SHARES)
        self._tape = Tape(seed, 1, self._arms + 1)

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        return {"kind": NAMES[self._kind(t)]}

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(self._tape.row(t)[arm] < self.mean(t, arm))

    def best(self, t: int) -> int:
        """See `Environment`."""
        return int(self._rates[self._kind(t)].argmax())

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        return float(self._rates[self._kind(t), arm])

    def _kind(self, t: int) -> int:
        drawn = int(self._edges.searchsorted(self._tape.row(t)[-1], side="right"))
        return min(drawn, len(NAMES) - 1)
