"""Sums in floating point: buckets weighted by their age, and what a policy knows of an arm beforehand.

Invariant: a sum is taken in the order given, by elementwise multiplication and addition, so the same buckets in the
same order give the same bytes on every machine. `weigh` leaves exact statistics exact where there is nothing to weigh.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.models.grid import FEATURE_BITS
from pipeline.models.model import Floats, Sums
from pipeline.models.sums.statistics import HEAD, Statistics, symmetric, total, width


@dataclass(frozen=True, slots=True)
class ArmPrior:
    """What is known of an arm before it is tried: as if it had been tried `weight` times."""

    mean: float
    """The mean of those rewards, in reward units; above what can be expected, it is an optimistic start."""
    weight: float
    """How many decisions this is worth."""
    variance: float
    """The variance of those rewards, in reward units squared."""

    def sums(self, dimension: int, reward_exponent: int) -> Floats:
        """Return the sums of those decisions, (width(dimension),); of the context only the intercept is known."""
        sums = np.zeros(width(dimension))
        reward = np.ldexp(self.mean, reward_exponent)
        square = np.ldexp(self.mean * self.mean + self.variance, 2 * reward_exponent)
        sums[:HEAD] = 1.0, reward, square
        if dimension:
            sums[HEAD] = np.ldexp(reward, FEATURE_BITS)
            sums[HEAD + dimension] = 2.0 ** (2 * FEATURE_BITS)
        sums *= self.weight
        return sums


@dataclass(frozen=True, eq=False)
class WeightedSums:
    """One arm's sums in grid units, not whole numbers any more; laid out as in `statistics.py`."""

    dimension: int
    sums: Floats
    """(width(dimension),)."""
    features: tuple[float, ...] = ()
    """What the arm is like."""

    @property
    def n(self) -> float:
        """How many decisions count, each by its weight."""
        return float(self.sums[0])

    @property
    def reward_sum(self) -> float:
        """Σ w r in grid units."""
        return float(self.sums[1])

    @property
    def reward_square_sum(self) -> float:
        """Σ w r² in grid units squared."""
        return float(self.sums[2])

    def moments(self) -> tuple[Floats, Floats]:
        """Return A (d, d), symmetric, and b (d,)."""
        d = self.dimension
        return symmetric(self.sums[HEAD + d :], d), self.sums[HEAD : HEAD + d]


@dataclass(frozen=True, eq=False)
class CandidateSums(WeightedSums):
    """Sums over the candidates of a policy, that are told by their features alone: over φ = z ⊗ x (`hybrid.py`)."""


Countable = Statistics | WeightedSums


def features_of(sums: Sums) -> tuple[float, ...]:
    """Return what the arm is like, as far as its sums say."""
    return sums.features if isinstance(sums, WeightedSums) else ()


class Maturing(NamedTuple):
    """A bucket of which not all has come yet."""

    weight: float
    """By its age, as all of it fades."""
    maturity: float
    """How much of what comes has come by now, in [0, 1]."""
    came: int
    """Of how many decisions something has come."""
    statistics: Countable


def weigh_maturing(
    buckets: Iterable[Maturing],
    dimension: int,
    reward_exponent: int,
    prior: ArmPrior | None = None,
    features: tuple[float, ...] = (),
) -> Statistics | WeightedSums:
    """Sum as `weigh` does, n and A of each bucket by its maturity; b, Σr and Σr² as they are.

    No fewer decisions count than something has come of, so that a mean stays within the rewards' bounds. When all has
    come, it is what `weigh` gives.
    """
    parts = [bucket for bucket in buckets if bucket.weight > 0.0]
    if all(bucket.maturity == 1.0 for bucket in parts):
        return weigh(((one.weight, one.statistics) for one in parts), dimension, reward_exponent, prior, features)
    sums = np.zeros(width(dimension)) if prior is None else prior.sums(dimension, reward_exponent)
    least = 0.0 if prior is None else prior.weight
    for weight, maturity, came, statistics in parts:
        part = weight * statistics.sums
        part[0] *= maturity
        part[HEAD + dimension :] *= maturity
        sums += part
        least += weight * came
    sums[0] = max(float(sums[0]), least)
    return WeightedSums(dimension, sums, features)


def weigh(
    buckets: Iterable[tuple[float, Countable]],
    dimension: int,
    reward_exponent: int,
    prior: ArmPrior | None = None,
    features: tuple[float, ...] = (),
) -> Statistics | WeightedSums:
    """Sum (weight, statistics) of the buckets, in the order given, on top of the prior.

    With all weights 1, and nothing known of the arm, it is the exact sum.
    """
    parts = [(weight, statistics) for weight, statistics in buckets if weight > 0.0]
    exact = [statistics for weight, statistics in parts if weight == 1.0 and isinstance(statistics, Statistics)]
    if prior is None and not features and len(exact) == len(parts):
        return total(exact, dimension)
    sums = np.zeros(width(dimension)) if prior is None else prior.sums(dimension, reward_exponent)
    for weight, statistics in parts:
        sums += weight * statistics.sums
    return WeightedSums(dimension, sums, features)
