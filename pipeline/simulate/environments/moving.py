"""What environments have in common whose rates move with time and need no context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from pipeline.models.model import Floats
from pipeline.simulate.environments.tape import Tape


class Moving(ABC):
    """Rewards of 1 at the rates of the moment, else 0."""

    _tape: Tape
    """One number for each decision and arm, made anew by `reset`."""

    @abstractmethod
    def _rates(self, t: int) -> Floats:
        """Return every arm's rate (K,)."""

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        del t
        return {}

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(self._tape.row(t)[arm] < self.mean(t, arm))

    def best(self, t: int) -> int:
        """See `Environment`."""
        return int(self._rates(t).argmax())

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`."""
        return float(self._rates(t)[arm])
