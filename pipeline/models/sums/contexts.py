"""Distinct contexts of one arm, each with how many decisions it had and what they earned: what a likelihood needs.

A row of tallies is one context of one bucket: its name says the context, its columns are n and Σr, exact integers. So
rows add up, are taken back and fade as sums do. The context's entries stand in the name in steps of 2^-bits:

    context:4,-1,3        with 2 bits: (1, -1/4, 3/4)

Invariant: contexts come in the order of their names, and each is summed over the buckets in the order given, so that
what is derived from them is the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import StateError
from pipeline.models.model import Floats, Sums
from pipeline.models.sums.refined import RefinedSums
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import ArmPrior, features_of

CONTEXT_ROW = "context:"
"""Before a context, in the name of a row of tallies."""
COLUMNS = 2
"""n and Σr."""


def context_name(steps: Sequence[int]) -> str:
    """Name the row of a context, given in whole steps.

    >>> context_name([4, -1, 3])
    'context:4,-1,3'
    """
    return CONTEXT_ROW + ",".join(map(str, steps))


@dataclass(frozen=True, eq=False)
class ContextSums(RefinedSums):
    """One arm's sums, and the same decisions told apart by context."""

    contexts: Floats
    """(m, d) distinct contexts."""
    counts: Floats
    """(m,) how many decisions each had, by their weights."""
    rewards: Floats
    """(m,) what they earned, in grid units."""

    def is_same(self, other: Sums) -> bool:
        """Whether the contexts are the same, and what is known of each."""
        return (
            isinstance(other, ContextSums)
            and features_of(self.sums) == features_of(other.sums)
            and np.array_equal(self.contexts, other.contexts)
            and np.array_equal(self.counts, other.counts)
            and np.array_equal(self.rewards, other.rewards)
        )


def weigh_contexts(
    rows: Iterable[tuple[float, float, str, Statistics]],
    sums: Sums,
    dimension: int,
    bits: int,
    reward_exponent: int,
    prior: ArmPrior | None = None,
) -> ContextSums:
    """Sum rows by context, on top of the prior, of which only the intercept is known.

    Args:
        rows: (weight, maturity, name, n and Σr) of one arm. Of a bucket that is maturing no fewer decisions count
            than were earned with, since rewards lie within [0, 1].
        sums: of the same decisions.
        dimension: d of the contexts.
        bits: their entries are in steps of 2^-bits.
        reward_exponent: of the grid.
        prior: what is known of the arm beforehand.

    Raises:
        StateError: a context has fewer than no decisions, or earned more than 1 with each.
    """
    known: dict[str, list[float]] = {}
    for weight, maturity, name, row in rows:
        n, earned = row.sums.tolist()
        successes = float(np.ldexp(earned, -reward_exponent))
        if not 0.0 <= successes <= n:
            raise StateError(f"{name} has {n} decisions that earned {successes}: expected from 0 to as many")
        if not n or not weight:
            continue
        entry = known.setdefault(name, [0.0, 0.0])
        entry[0] += weight * max(maturity * n, successes)
        entry[1] += weight * earned
    names = sorted(known)
    steps = [name.removeprefix(CONTEXT_ROW).split(",") for name in names]
    contexts = np.ldexp(np.array(steps, np.float64).reshape(len(names), dimension), -bits)
    totals = np.array([known[name] for name in names]).reshape(len(names), COLUMNS)
    if prior is not None:
        own = prior.weight * np.array([[1.0, float(np.ldexp(prior.mean, reward_exponent))]])
        contexts = np.concatenate((np.eye(1, dimension), contexts))
        totals = np.concatenate((own, totals))
    return ContextSums(sums, contexts, totals[:, 0], totals[:, 1])
