"""What happened in one run, and what is true of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true in the population; nan where a world doesn't say."""

    lift: float = float("nan")
    """What the policy earns a decision more than the holdout."""
    policy: float = float("nan")
    """What the policy earns a decision."""
    holdout: float = float("nan")
    target: float = float("nan")
    """What the target of an evaluation earns a decision."""


@dataclass(frozen=True, eq=False)
class Sample:
    """N decisions in order of time, among K arms; arm 0 is the control."""

    truth: Truth
    subject: Integers
    """(N,)"""
    held_out: Mask
    """(N,)"""
    chances: Floats
    """(N, K) what was drawn from, of what a held-out subject was shown too."""
    arm: Integers
    """(N,)"""
    reward: Floats
    """(N,)"""
    high: float = 1.0
    """Largest reward that is declared."""
    version: Integers | None = None
    """(N,) of the snapshot that told the holdout's share; None: 1."""
    shares: Mapping[int, float] = field(default_factory=lambda: {1: 0.5})
    """The holdout's share, by version."""
    is_adult: Mask | None = None
    """(N,) what the context says; None: nothing."""
    day: Integers | None = None
    """(N,) None: all on one."""

    def __len__(self) -> int:
        return len(self.arm)
