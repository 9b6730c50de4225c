"""Rewards that are linear in the context, with normal noise; a regression of its own for each arm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.models.model import Floats
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names, as_context, numeric


class Linear:
    """Contexts uniform within ±1; means within ±1 of 0, noise added and cut off at the rewards' bounds of ±2."""

    def __init__(self, arms: int = 5, dimension: int = 8, noise: float = 0.25, decisions: int = 3_000) -> None:
        """Take the number of arms and features, and the noise's standard deviation."""
        self._arms, self._dimension, self._noise = arms, dimension, noise
        self.setting = Setting(arm_names(arms), -2.0, 2.0, numeric(dimension), decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        rng = np.random.default_rng((seed, 0))
        weights = rng.standard_normal((self._arms, self._dimension))
        # Σ|w| = 1, so that no context within ±1 has a mean beyond ±1.
        self._weights = weights / np.abs(weights).sum(axis=1, keepdims=True)
        self._x = Tape(seed, 1, self._dimension)
        self._tape = Tape(seed, 2, self._arms, "normal")

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        return as_context(self._context(t))

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(np.clip(self.mean(t, arm) + self._noise * self._tape.row(t)[arm], -2.0, 2.0))

    def best(self, t: int) -> int:
        """See `Environment`."""
        return int((self._weights @ self._context(t)).argmax())

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        return float(self._weights[arm] @ self._context(t))

    def _context(self, t: int) -> Floats:
        return 2.0 * self._x.row(t) - 1.0
