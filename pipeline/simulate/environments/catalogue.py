"""A large catalogue: from time to time an arm that nobody knows comes, and the oldest goes.

The log-odds of a click are those of its traits, of how they meet the visitor's, and something of its own. The traits
are known, and the same for every seed; what they are worth is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.models.model import Floats
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names, as_context, numeric

TRAITS = 3


class Catalogue:
    """So many arms at a time, out of all there will be."""

    def __init__(self, arms: int = 60, at_once: int = 20, every: int = 75, decisions: int = 3_000) -> None:
        """Take the arms there will be, how many are on offer, and after how many decisions one comes."""
        if not 1 <= at_once <= arms:
            raise ValueError(f"of {arms} arms 1 to {arms} can be on offer: seen {at_once}")
        self._at_once, self._every = at_once, every
        self._traits = np.clip(np.random.default_rng(20_110_211).standard_normal((arms, TRAITS)), -3.0, 3.0)
        parts = tuple(
            {"features": {f"trait{i}": value for i, value in enumerate(row)}} for row in self._traits.tolist()
        )
        self.setting = Setting(arm_names(arms), features=numeric(TRAITS), arm_parts=parts, decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        rng = np.random.default_rng((seed, 0))
        arms = len(self.setting.arms)
        self._appeal = -2.0 + self._traits @ (0.5 * rng.standard_normal(TRAITS)) + 0.4 * rng.standard_normal(arms)
        self._tastes = self._traits @ rng.standard_normal((TRAITS, TRAITS)) / np.sqrt(TRAITS)
        self._x, self._tape = Tape(seed, 1, TRAITS), Tape(seed, 2, arms)

    def eligible(self, t: int) -> Sequence[int]:
        """See `Changing`."""
        first = min(t // self._every, len(self.setting.arms) - self._at_once)
        return range(first, first + self._at_once)

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        return as_context(self._context(t))

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(self._tape.row(t)[arm] < self.mean(t, arm))

    def best(self, t: int) -> int:
        """See `Environment`."""
        on_offer = np.array(self.eligible(t))
        odds = self._appeal[on_offer] + self._tastes[on_offer] @ self._context(t)
        return int(on_offer[odds.argmax()])

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        odds = self._appeal[arm] + self._tastes[arm] @ self._context(t)
        return float(1.0 / (1.0 + np.exp(-odds)))

    def _context(self, t: int) -> Floats:
        return 2.0 * self._x.row(t) - 1.0
