"""Amounts: normal rewards around each arm's own mean, within bounds that are far from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names


class Amounts:
    """Means evenly from 0.3 to 0.6 of the bounds, in the seed's order; noise in the bounds' unit too, cut off there."""

    def __init__(self, arms: int = 5, noise: float = 0.1) -> None:
        """Take the number of arms, and the standard deviation of a reward."""
        self._given, self._noise = np.linspace(0.3, 0.6, arms), noise
        self.setting = Setting(arm_names(arms))
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        self._means = np.random.default_rng((seed, 0)).permutation(self._given)
        self._tape = Tape(seed, 1, len(self._means), "normal")

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        del t
        return {}

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(np.clip(self.mean(t, arm) + self._noise * self._tape.row(t)[arm], 0.0, 1.0))

    def best(self, t: int) -> int:
        """See `Environment`."""
        del t
        return int(self._means.argmax())

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        del t
        return float(self._means[arm])
