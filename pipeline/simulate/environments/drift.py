"""Arms whose rates go up and down slowly, each at its own time."""

from __future__ import annotations

import numpy as np

from pipeline.models.model import Floats
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.moving import Moving
from pipeline.simulate.environments.tape import Tape, arm_names


class Drift(Moving):
    """Rates 0.3 + 0.2 sin(2π (t / period + phase)), with phases spread evenly and dealt by the seed."""

    def __init__(self, arms: int = 5, period: int = 5_000, decisions: int = 10_000) -> None:
        """Take the number of arms, and the decisions in one turn."""
        self._period = period
        self.setting = Setting(arm_names(arms), decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        arms = len(self.setting.arms)
        self._phases = np.random.default_rng((seed, 0)).permutation(arms) / arms
        self._tape = Tape(seed, 1, arms)

    def _rates(self, t: int) -> Floats:
        rates: Floats = 0.3 + 0.2 * np.sin(2.0 * np.pi * (t / self._period + self._phases))
        return rates
