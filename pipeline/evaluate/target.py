"""The policy in question: how likely it would have shown each arm, in each logged situation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.evaluate.log import DecisionLog
from pipeline.models.model import Floats


class Target(Protocol):
    """A policy that a log is asked about."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Say in words what of the policy a log can't be asked about."""

    def propensities(self, log: DecisionLog, rows: slice) -> Floats:
        """Return each arm's chance in each of m decisions, (m, K): 0 for arms that weren't offered.

        A row of zeros: it would have shown nothing.
        """


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every arm on offer alike."""

    name: str = "uniform"
    left_out: tuple[str, ...] = ()

    def propensities(self, log: DecisionLog, rows: slice) -> Floats:
        """See `Target`."""
        offered = log.offered.astype(np.float64)
        chances: Floats = (offered / offered.sum(axis=1, keepdims=True))[log.offer[rows]]
        return chances


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """The same chances for ever, by segment; shared out among the arms on offer."""

    name: str
    table: Floats
    """(S, K)."""
    left_out: tuple[str, ...] = ()

    def propensities(self, log: DecisionLog, rows: slice) -> Floats:
        """See `Target`."""
        chances = self.table[log.segment[rows]] * log.offered[log.offer[rows]]
        total = chances.sum(axis=1, keepdims=True)
        shared: Floats = np.divide(chances, total, out=np.zeros_like(chances), where=total > 0.0)
        return shared


@dataclass(frozen=True, slots=True)
class Logged:
    """The policy that made the log: every weight is 1, so that it evaluates to its own mean."""

    name: str = "logged"
    left_out: tuple[str, ...] = ()

    def propensities(self, log: DecisionLog, rows: slice) -> Floats:
        """Return 1 for the arm that was shown: what a sample of its own decisions says of it."""
        arm = log.arm[rows]
        chances = np.zeros((len(arm), len(log.arms)))
        chances[np.arange(len(arm)), arm] = 1.0
        return chances
