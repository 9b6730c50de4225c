"""One arm's sums, and more about the same decisions: what a model knows that sums alone don't tell."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.models.model import Floats, Sums
from pipeline.models.sums.statistics import Integers


@dataclass(frozen=True, eq=False)
class RefinedSums:
    """Sums to whoever asks for sums; who wants more asks the kind that it wants."""

    sums: Sums
    """All of the arm's decisions together."""

    @property
    def n(self) -> float:
        """How many decisions count."""
        return self.sums.n

    @property
    def reward_sum(self) -> float:
        """Σr in grid units."""
        return self.sums.reward_sum

    @property
    def reward_square_sum(self) -> float:
        """Σr² in grid units squared."""
        return self.sums.reward_square_sum

    def moments(self) -> tuple[Integers | Floats, Integers | Floats]:
        """Return A (d, d) and b (d,)."""
        return self.sums.moments()
