"""A shop with two goals: of what is shown some is clicked much, some is bought much, and what is bought comes back.

    arm        0      1      2      3
    clicked    0.60   0.30   0.20   0.10
    bought     0.02   0.04   0.10   0.12
    returned   0      0      0.10   0.40    of what was bought

The environment's own worths say what regret is; a policy may have others, and learns what each kind comes to.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names

CLICKED = (0.60, 0.30, 0.20, 0.10)
BOUGHT = (0.02, 0.04, 0.10, 0.12)
RETURNED = (0.0, 0.0, 0.10, 0.40)
_KINDS = ("click", "sale", "refund")


class Shop:
    """Nothing is known when deciding; the seed says which arm is which."""

    def __init__(self, click: float = 0.1, sale: float = 0.8, refund: float = -0.8, decisions: int = 10_000) -> None:
        """Take what one of each kind is worth."""
        if not (click >= 0.0 and sale >= 0.0 >= refund and click + sale <= 1.0 and refund >= -1.0):
            raise ValueError("click and sale are worth 0 or more and 1 at most together, refund from -1 to 0")
        self._worths = np.array([click, sale, refund])
        kinds = tuple({"kind": kind, "worth": float(w)} for kind, w in zip(_KINDS, self._worths, strict=True))
        self.setting = Setting(arm_names(len(CLICKED)), low=-1.0, kinds=kinds, decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        order = np.random.default_rng((seed, 0)).permutation(len(CLICKED))
        self._chances = np.array([CLICKED, BOUGHT, RETURNED]).T[order]
        self._tape = Tape(seed, 1, len(CLICKED) * len(_KINDS))

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        del t
        return {}

    def outcomes(self, t: int, arm: int) -> Mapping[str, float]:
        """See `Telling`."""
        drawn = self._tape.row(t).reshape(-1, len(_KINDS))[arm] < self._chances[arm]
        drawn[2] &= drawn[1]  # what was not bought is not returned
        return {kind: 1.0 for kind, came in zip(_KINDS, drawn.tolist(), strict=True) if came}

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        came = self.outcomes(t, arm)
        return float(sum(worth for kind, worth in zip(_KINDS, self._worths.tolist(), strict=True) if kind in came))

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        del t
        clicked, bought, returned = self._chances[arm].tolist()
        return float(self._worths @ (clicked, bought, bought * returned))

    def best(self, t: int) -> int:
        """See `Environment`."""
        return max(range(len(CLICKED)), key=lambda arm: self.mean(t, arm))
