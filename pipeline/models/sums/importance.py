"""Decisions of one arm weighed by 1 / propensity: what it would have earned, had it been shown every time.

    drawn = Σ 1/p        earned = Σ r/p        over the decisions in which the arm was shown

With p the chance that it had, the expectation of 1/p, of a decision in which it may or may not be shown, is 1 and that
of r/p is its reward: whatever policy drew, and however that changed on the way (Horvitz & Thompson 1952; Auer,
Cesa-Bianchi, Freund & Schapire 2002, section 3).

A row of tallies holds both as whole numbers, each decision's rounded once,

    column     0                    1 ..
    holds      Σ round(2^15 / p)    Σ round(c / p)

for the amounts c of a decision: its reward in grid units, or one amount a kind where kinds are counted apart. So rows
add up, are taken back and fade as sums do. A propensity below 2^-15 counts as 2^-15, which bounds what one decision
can weigh, as truncated importance sampling does (Ionides 2008). With |c| <= 2^15 then no entry is beyond 2^30: a row is
exact as far as `grid.py` proves for products.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import StateError
from pipeline.models.model import Floats, Sums
from pipeline.models.sums.objectives import Weights
from pipeline.models.sums.refined import RefinedSums
from pipeline.models.sums.statistics import Integers, Statistics
from pipeline.models.sums.weighted import ArmPrior

PROPENSITY_BITS = 15
ONE = 1 << PROPENSITY_BITS
LEAST = 1.0 / ONE
"""What a smaller propensity counts as."""


def columns_for(amounts: int) -> int:
    """Return how many columns a row has: one for 1/p, and one for each amount of a decision."""
    return 1 + amounts


def entries(propensity: float, amounts: Sequence[int]) -> list[int]:
    """Return what a decision adds to each column; raises StateError where the propensity is none.

    >>> entries(0.25, [3]), entries(1e-9, [2**15])
    ([131072, 12], [1073741824, 1073741824])
    """
    if not 0.0 < propensity <= 1.0:
        raise StateError(f"a decision's propensity lies in (0, 1]: seen {propensity!r}")
    counted = max(propensity, LEAST)
    # A quotient is the nearest float64 on every machine, and rounding one that small to a whole number is exact.
    return [round(amount / counted) for amount in (ONE, *amounts)]


def entries_of_many(propensities: Floats, amounts: Floats) -> Integers:
    """Return what decisions add to one column, as `entries` does: (m,) of amounts that are whole numbers."""
    rounded: Integers = np.rint(amounts / np.maximum(propensities, LEAST)).astype(np.int64)
    return rounded


@dataclass(frozen=True, eq=False)
class ImportanceSums(RefinedSums):
    """One arm's sums, and the same decisions weighed by 1/p."""

    drawn: float
    """Σ w/p, w by its age."""
    earned: float
    """Σ w r/p in grid units."""

    def is_same(self, other: Sums) -> bool:
        """Whether the same is known of the same decisions."""
        return (
            isinstance(other, ImportanceSums)
            and (self.drawn, self.earned, self.n) == (other.drawn, other.earned, other.n)
            and self.reward_sum == other.reward_sum
            and self.reward_square_sum == other.reward_square_sum
        )


def weigh_importance(
    rows: Iterable[tuple[float, float, Statistics]],
    sums: Sums,
    weights: Weights,
    prior: ArmPrior | None = None,
    reward_exponent: int = 0,
) -> ImportanceSums:
    """Sum the rows of one arm, in the order given, on top of the prior: as if the arm had been certain then.

    Args:
        rows: (weight, maturity, row): `drawn` counts by both, as n does, `earned` by the weight alone, as Σr does.
        sums: of the same decisions.
        weights: what the amounts of each column are worth, in steps of the reward's grid.
        prior: what is known of the arm beforehand.
        reward_exponent: of the grid.
    """
    drawn = 0.0 if prior is None else prior.weight
    earned = 0.0 if prior is None else prior.weight * float(np.ldexp(prior.mean, reward_exponent))
    all_drawn = all_earned = 0
    one = 1 << weights.bits
    for weight, maturity, row in rows:
        known, *amounts = row.sums.tolist()
        # In whole numbers without bound, which stay exact where there is nothing to weigh.
        worth = sum(step * amount for step, amount in zip(weights.steps, amounts, strict=True))
        if weight == 1.0:
            all_earned += worth
        else:
            earned += weight * (worth / one)
        if weight * maturity == 1.0:
            all_drawn += known
        else:
            drawn += weight * maturity * (known / ONE)
    return ImportanceSums(sums, drawn + all_drawn / ONE, earned + all_earned / one)
