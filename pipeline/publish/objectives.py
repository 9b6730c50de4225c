"""The rewards of a policy that counts its outcome kinds apart, made of its worths when rows are merged. Pure.

Statistics rows of such a policy have n and A, and no reward; a row of tallies beside each has the kinds
(`models/sums/objectives.py`). Another worth is another weighting of the same whole numbers: nothing is learned anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction

from pipeline.learn.memory import RowKey
from pipeline.models.sums.objectives import Composed, columns_for, compose, with_rewards
from pipeline.models.sums.statistics import Statistics, total
from pipeline.models.sums.weighted import WeightedSums
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.tallies import OBJECTIVES_ROW

Rows = Iterable[tuple[RowKey, Statistics]]


def rewarded(definition: PolicyDefinition, rows: Rows, *, is_plain: bool) -> list[tuple[RowKey, WeightedSums]]:
    """Return the rows in which decisions are counted, sorted, with what they have earned by the present worths.

    Where buckets are all weighed alike (`is_plain`) they are summed first, so that what is rounded is the exact total.
    """
    rows = _merged(rows) if is_plain else list(rows)
    kinds = {key._replace(tally=""): row for key, row in rows if key.tally == OBJECTIVES_ROW}
    counted = sorted((row for row in rows if not row[0].tally and row[1].n), key=lambda row: row[0])
    return [(key, with_rewards(row, _composed(definition, kinds.get(key)))) for key, row in counted]


def reward_sums(definition: PolicyDefinition, rows: Rows) -> dict[tuple[str, str], int]:
    """Return Σr by segment and arm, rounded once to the steps of the reward's grid."""
    found = {}
    for key, row in _merged(rows):
        if key.tally == OBJECTIVES_ROW:
            sums = _composed(definition, row)
            found[key.segment, key.arm] = round(Fraction(sums.reward_sum, 1 << sums.bits))
    return found


def _composed(definition: PolicyDefinition, kinds: Statistics | None) -> Composed:
    if kinds is None:  # nothing has come of any decision
        kinds = Statistics.zero(-columns_for(len(definition.reward.outcomes), definition.dimension))
    return compose(kinds.sums, definition.reward.weights, definition.dimension)


def _merged(rows: Rows) -> Sequence[tuple[RowKey, Statistics]]:
    """Sum the buckets, under the newest with decisions; those whose decisions were all erased hold nothing."""
    parts: defaultdict[RowKey, list[Statistics]] = defaultdict(list)
    newest = 0
    for key, row in rows:
        if not key.tally and row.n:
            newest = max(newest, key.bucket)
        parts[key._replace(bucket=0)].append(row)
    return [(key._replace(bucket=newest), total(some, some[0].dimension)) for key, some in parts.items()]
