"""Classes that no line parts: which arm is best goes by how two features stand to each other, or by a step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.models.model import Floats
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import Tape, arm_names, as_context, numeric


class Corners:
    """Two arms; the right one, told by the sign of x0 x1, pays 1 nine times in ten, and the other one in ten."""

    def __init__(self, dimension: int = 2) -> None:
        """Take the number of features; only two of them say anything."""
        self._dimension = dimension
        self.setting = Setting(arm_names(2), features=numeric(dimension))
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        self._x, self._tape = Tape(seed, 1, self._dimension), Tape(seed, 2, 1)

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        return as_context(self._context(t))

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float((self._tape.row(t)[0] < 0.9) == (arm == self.best(t)))

    def best(self, t: int) -> int:
        """See `Environment`."""
        x = self._context(t)
        return int(x[0] * x[1] > 0.0)

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        return 0.9 if arm == self.best(t) else 0.1

    def _context(self, t: int) -> Floats:
        return 2.0 * self._x.row(t) - 1.0


class Step:
    """Four arms, each of which pays 1 within a stretch of x0 of its own and 0.3 beyond it, with noise of 0.2."""

    def __init__(self) -> None:
        """Take nothing."""
        self.setting = Setting(arm_names(4), -1.0, 2.0, numeric(3))
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        self._order = np.random.default_rng((seed, 0)).permutation(4)
        self._x, self._noise = Tape(seed, 1, 3), Tape(seed, 2, 4, "normal")

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        return as_context(2.0 * self._x.row(t) - 1.0)

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(np.clip(self.mean(t, arm) + 0.2 * self._noise.row(t)[arm], -1.0, 2.0))

    def best(self, t: int) -> int:
        """See `Environment`."""
        return int(self._order[int(4.0 * self._x.row(t)[0])])

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        return 1.0 if arm == self.best(t) else 0.3
