"""Arms compared within stretches of time: a level that moves while shares move is no difference of arms.

An arm that is shown more and more while everything converts less and less looks worse than it is, whatever is pooled
(Simpson 1951). So time is cut into strata in which every arm was shown, and an arm's mean is that of the strata, each
weighed by all its decisions:

    m_a = Σ_s W_s m_as        v_a = Σ_s W_s² v_as        W_s = N_s / Σ N

(post-stratification; Cochran 1977, section 5A.9). A stratum is one bucket, or as many in a row as it takes for every
arm to have `LEAST` decisions in it. The first begins with the bucket in which the last of the arms was shown first:
before, there is nothing to compare it with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.models.sums.statistics import Statistics

LEAST = 30
"""Decisions of an arm in a stratum: fewer would make its variance a guess."""


class Stratum(NamedTuple):
    """A stretch of time."""

    arms: tuple[Statistics, ...]
    """Each arm's sums in it."""
    weight: float
    """All decisions in it, as far as they are not forgotten."""
    last: int = 0
    """The bucket that it ends with."""


class Cut(NamedTuple):
    """Time, cut."""

    strata: tuple[Stratum, ...]
    """In order; none where no stretch has enough of every arm."""
    first: int | None
    """The bucket that the first begins with."""
    left_out: int
    """Decisions before it."""


def cut(cells: Mapping[tuple[str, int], Statistics], arms: Sequence[str], weights: Mapping[int, float]) -> Cut:
    """Cut the buckets of one segment into strata.

    Args:
        cells: sums by arm and bucket.
        arms: that are compared.
        weights: how much a decision of each bucket counts; of a bucket that counts nothing nothing is taken.
    """
    shown = {key: row for key, row in cells.items() if key[0] in arms and row.n > 0 and weights.get(key[1], 0.0) > 0.0}
    starts = [min((bucket for arm, bucket in shown if arm == wanted), default=None) for wanted in arms]
    if None in starts:
        return Cut((), None, sum(row.n for row in shown.values()))
    first = max(start for start in starts if start is not None)
    strata: list[Stratum] = []
    gathered: dict[str, Statistics] = {}
    weight = 0.0
    for bucket in sorted({bucket for _, bucket in shown if bucket >= first}):
        for arm in arms:
            if (row := shown.get((arm, bucket))) is not None:
                gathered[arm] = row if arm not in gathered else gathered[arm] + row
                weight += weights[bucket] * row.n
        if all(arm in gathered and gathered[arm].n >= LEAST for arm in arms):
            strata.append(Stratum(tuple(gathered[arm] for arm in arms), weight, bucket))
            gathered, weight = {}, 0.0
    if gathered and strata:  # what came since is too little for a stratum of its own
        last = strata.pop()
        joined = (row if arm not in gathered else row + gathered[arm] for arm, row in zip(arms, last.arms, strict=True))
        strata.append(Stratum(tuple(joined), last.weight + weight, max(bucket for _, bucket in shown)))
    left_out = sum(row.n for (_, bucket), row in shown.items() if bucket < first)
    return Cut(tuple(strata), first if strata else None, left_out)
