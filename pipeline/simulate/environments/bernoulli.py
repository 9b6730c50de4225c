"""Arms that pay 1 with a chance of their own; by default ten rare ones (Kaufmann, Korda & Munos 2012, figure 3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names

RARE = "0.1,0.05,0.05,0.05,0.02,0.02,0.02,0.01,0.01,0.01"


class Bernoulli:
    """Nothing is known when deciding; the seed says which arm has which rate."""

    def __init__(self, rates: str = RARE, decisions: int = 10_000) -> None:
        """Take the arms' rates, as numbers with commas between."""
        self._given = np.array([float(rate) for rate in rates.split(",")])
        if not ((self._given >= 0.0) & (self._given <= 1.0)).all():
            raise ValueError(f"rates lie in [0, 1]: seen {rates}")
        self.setting = Setting(arm_names(len(self._given)), decisions=decisions)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        self._rates = np.random.default_rng((seed, 0)).permutation(self._given)
        self._tape = Tape(seed, 1, len(self._rates))

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        del t
        return {}

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(self._tape.row(t)[arm] < self._rates[arm])

    def best(self, t: int) -> int:
        """See `Environment`."""
        del t
        return int(self._rates.argmax())

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        del t
        return float(self._rates[arm])
