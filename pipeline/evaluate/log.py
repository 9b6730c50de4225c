"""A log of decisions, column by column: what was shown, how likely that was, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.models.model import Floats

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DecisionLog:
    """N decisions among K arms, in order of time."""

    arms: tuple[str, ...]
    """Every arm that was offered."""
    segments: tuple[str, ...]
    """Every segment that occurs."""
    arm: Indices
    """(N,) index into `arms`: what was shown."""
    segment: Indices
    """(N,) index into `segments`."""
    reward: Floats
    """(N,) what it earned."""
    propensity: Floats
    """(N,) how likely the arm shown was, in (0, 1]."""
    contexts: Sequence[Mapping[str, object]]
    """N raw contexts."""
    decided_at_ms: Indices
    """(N,) when it was shown, epoch milliseconds."""
    offer: Indices
    """(N,) index into `offered` and `possible`."""
    offered: Mask
    """(offers, K) which arms could have been shown to this visitor."""
    possible: Mask
    """(offers, K) which of those the logging policy gave a propensity above 0, as far as is known."""
    bounds: tuple[float, float]
    """Smallest and largest reward."""
    weight_bound_known: bool
    """Whether every decision's whole probability vector was logged."""
    least_propensity: Floats
    """(N,) the smallest propensity above 0 that an arm had; of the arm shown, where the vector was not logged."""

    def __post_init__(self) -> None:
        if not len(self):
            raise ConfigError("the log", ["holds no decision to evaluate from"])
        low, high = self.bounds
        outside = (self.reward < low) | (self.reward > high)
        if outside.any():
            seen = float(self.reward[outside][0])
            raise ConfigError("the log", [f"reward {seen!r} lies outside its bounds {low!r} to {high!r}"])
        wrong = ~((self.propensity > 0.0) & (self.propensity <= 1.0))
        if wrong.any():
            seen = float(self.propensity[wrong][0])
            raise ConfigError("the log", [f"propensity {seen!r} of decision {int(wrong.argmax())} is not in (0, 1]"])

    def __len__(self) -> int:
        return len(self.arm)

    @property
    def mean_reward(self) -> float:
        """What the logging policy earned a decision."""
        return float(self.reward.mean())
