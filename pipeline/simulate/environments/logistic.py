"""Clicks whose log-odds are linear in the context: what a click log is usually thought to be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.models.model import Floats
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names, as_context, numeric


class Logistic:
    """Contexts uniform within ±1; rare clicks for most, and some arm for everybody."""

    def __init__(self, arms: int = 5, dimension: int = 6, decisions: int = 3_000) -> None:
        """Take the number of arms and features."""
        self._arms, self._dimension = arms, dimension
        self.setting = Setting(arm_names(arms), features=numeric(dimension), decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        rng = np.random.default_rng((seed, 0))
        self._weights = 1.5 * rng.standard_normal((self._arms, self._dimension))
        self._offsets = -1.5 + 0.5 * rng.standard_normal(self._arms)
        self._x = Tape(seed, 1, self._dimension)
        self._tape = Tape(seed, 2, self._arms)

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        return as_context(self._context(t))

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(self._tape.row(t)[arm] < self.mean(t, arm))

    def best(self, t: int) -> int:
        """See `Environment`."""
        return int((self._offsets + self._weights @ self._context(t)).argmax())

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        odds = self._offsets[arm] + self._weights[arm] @ self._context(t)
        return float(1.0 / (1.0 + np.exp(-odds)))

    def _context(self, t: int) -> Floats:
        return 2.0 * self._x.row(t) - 1.0
