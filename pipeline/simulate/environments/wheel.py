"""The wheel (Riquelme, Tucker & Snoek 2018, section 5.4): what is worth most lies where no line can cut it out.

Contexts are uniform in the unit disc. Arm 0 pays 1.2 and the others 1.0, but outside the radius delta the one arm of
the context's quadrant pays 50; noise 0.01. All divided by 51 here, that rewards lie in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi, sin, sqrt

import numpy as np

from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names, as_context, numeric

SCALE = 51.0
SAFE, OTHER, JACKPOT, NOISE = 1.2 / SCALE, 1.0 / SCALE, 50.0 / SCALE, 0.01 / SCALE


class Wheel:
    """Five arms, two features."""

    def __init__(self, delta: float = 0.5, decisions: int = 3_000) -> None:
        """Take the radius within which arm 0 is best."""
        if not 0.0 <= delta <= 1.0:
            raise ValueError(f"delta lies in [0, 1]: seen {delta}")
        self._delta = delta
        self.setting = Setting(arm_names(5), features=numeric(2), decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        self._disc = Tape(seed, 1, 2)
        self._noise = Tape(seed, 2, 5, "normal")

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        radius, turn = self._place(t)
        return as_context(np.array([radius * cos(turn), radius * sin(turn)]))

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(np.clip(self.mean(t, arm) + NOISE * self._noise.row(t)[arm], 0.0, 1.0))

    def best(self, t: int) -> int:
        """See `Environment`."""
        radius, turn = self._place(t)
        return 0 if radius <= self._delta else 1 + int(turn // (pi / 2.0)) % 4

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        if arm == 0:
            return SAFE
        return JACKPOT if arm == self.best(t) else OTHER

    def _place(self, t: int) -> tuple[float, float]:
        area, turn = self._disc.row(t).tolist()
        return sqrt(area), 2.0 * pi * turn
