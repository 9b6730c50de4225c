"""Arms whose rates are all drawn anew from time to time: what was learned is worth nothing, or worse."""

from __future__ import annotations

from pipeline.models.model import Floats
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.moving import Moving
from pipeline.simulate.environments.tape import Tape, arm_names


class Switching(Moving):
    """Rates uniform in [0, 1], drawn anew after every so many decisions."""

    def __init__(self, arms: int = 5, every: int = 2_500, decisions: int = 10_000) -> None:
        """Take the number of arms, and after how many decisions all rates change."""
        self._every = every
        self.setting = Setting(arm_names(arms), decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        arms = len(self.setting.arms)
        self._eras, self._tape = Tape(seed, 1, arms), Tape(seed, 2, arms)

    def _rates(self, t: int) -> Floats:
        return self._eras.row(t // self._every)
