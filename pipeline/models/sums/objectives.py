"""Rewards of several kinds, kept apart: what each kind came to, and from that the sums of any weighting of them.

Of each decision the whole number c_k says how much of kind k came of it. One row holds, for K kinds and contexts x of
d entries,

    column     0 .. K-1    K ..                                  K + K (K + 1) / 2 ..
    holds      Σ c_k       Σ c_k c_l, k <= l, row by row         Σ c_k x, kind by kind

of which the sums of r = Σ_k w_k c_k follow for weights that nobody knew when it was counted:

    Σ r = Σ_k w_k Σ c_k        Σ r² = Σ_kl w_k w_l Σ c_k c_l        b = Σ r x = Σ_k w_k Σ c_k x

n and A don't depend on them. With |c_k| <= 2^15 a row is exact as far as `grid.py` proves for r; weights are whole
numbers of 2^-bits and what is composed is in Python's integers, so it is what folding those r would have come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.models.sums.statistics import HEAD, Integers, Statistics
from pipeline.models.sums.weighted import WeightedSums


class Weights(NamedTuple):
    """What one of each kind's steps is worth in steps of the reward's grid."""

    steps: Sequence[int]
    """By kind, in units of 2^-bits."""
    bits: int


class Composed(NamedTuple):
    """The sums of a weighting, exact."""

    reward_sum: int
    """In units of 2^-bits of a grid step."""
    reward_square_sum: int
    """In units of 2^-(2 bits) of a grid step squared."""
    moments: Sequence[int]
    """b, in units of 2^-bits."""
    bits: int


def columns_for(kinds: int, dimension: int) -> int:
    """Return how many columns a row has.

    >>> columns_for(2, 0), columns_for(3, 4)
    (5, 21)
    """
    return kinds + kinds * (kinds + 1) // 2 + kinds * dimension


def entries(amounts: Sequence[int], x: Sequence[int]) -> list[tuple[int, int]]:
    """Return what a decision adds, as (column, amount), zeros left out.

    >>> entries([0, 3], [1, -2])
    [(1, 3), (4, 9), (7, 3), (8, -6)]
    """
    kinds = len(amounts)
    crosses = [amounts[k] * amounts[other] for k in range(kinds) for other in range(k, kinds)]
    moments = [amount * entry for amount in amounts for entry in x] if any(amounts) else []
    return [(column, amount) for column, amount in enumerate([*amounts, *crosses, *moments]) if amount]


def compose(columns: Integers, weights: Weights, dimension: int) -> Composed:
    """Return the sums of the reward that the weights make of a row's kinds."""
    values: list[int] = columns.tolist()
    steps, bits = weights
    kinds = len(steps)
    crosses = iter(values[kinds:])
    squares = sum(
        steps[k] * steps[other] * next(crosses) * (1 if k == other else 2)
        for k in range(kinds)
        for other in range(k, kinds)
    )
    start = columns_for(kinds, 0)
    moments = [sum(step * values[start + k * dimension + j] for k, step in enumerate(steps)) for j in range(dimension)]
    return Composed(sum(step * value for step, value in zip(steps, values, strict=False)), squares, moments, bits)


def with_rewards(statistics: Statistics, composed: Composed) -> WeightedSums:
    """Return n and A of a row with the rewards of a weighting, each rounded to float64 once."""
    one = 1 << composed.bits
    sums = statistics.sums.astype(np.float64)
    # Python divides whole numbers of any size to the nearest float64.
    sums[1], sums[2] = composed.reward_sum / one, composed.reward_square_sum / (one * one)
    sums[HEAD : HEAD + statistics.dimension] = [moment / one for moment in composed.moments]
    return WeightedSums(statistics.dimension, sums)
