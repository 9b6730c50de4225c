"""A policy's rows → the sums that arms' posteriors are made of: buckets as they count, and what is told apart. Pure.

Spans of buckets count by their age (`models/sums/forgetting.py`), and where delays are corrected for by what has come
of them; what is known of an arm beforehand stands below. Where neither is so all of them count alike, so they are one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from pipeline.learn.memory import RowKey
from pipeline.models.model import Sums
from pipeline.models.sums.contexts import CONTEXT_ROW, weigh_contexts
from pipeline.models.sums.groups import GROUP_ROW, weigh_groups
from pipeline.models.sums.importance import weigh_importance
from pipeline.models.sums.objectives import Weights
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import CandidateSums, Countable, Maturing, weigh, weigh_maturing
from pipeline.policy.candidates import CANDIDATES
from pipeline.policy.definition import Arm, PolicyDefinition
from pipeline.policy.tallies import IMPORTANCE_ROW
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.fading import Basis, Fading
from pipeline.publish.maturity import Place, is_corrected, mature
from pipeline.publish.objectives import rewarded

Rows = Sequence[tuple[RowKey, Statistics]]
Row = tuple[str, str]
"""Segment and arm."""


def merge_buckets(rows: Iterable[tuple[RowKey, Statistics]] | AgedRows) -> dict[Row, Statistics]:
    """Sum the time buckets of each (segment, arm)."""
    # A row that comes to nothing is not there: all of its decisions were erased, as if there had been none.
    return {(key.segment, key.arm): row for key, row in AgedRows.of(rows).ever.items() if not key.tally}


def weigh_buckets(
    definition: PolicyDefinition,
    rows: Iterable[tuple[RowKey, Statistics]] | AgedRows,
    as_of_ms: int = 0,
    fading: Fading | None = None,
) -> dict[Row, Sums]:
    """Merge the time buckets of each (segment, arm) as the policy forgets, on top of what it knows beforehand.

    The age of a bucket is counted from the policy's newest one with data; where delays are corrected for, what has
    come of it by now goes by the event time `as_of_ms`. What `fading` has of the sums before is gone on from; the
    result is the same.
    """
    aged = AgedRows.of(rows)
    is_plain = definition.forgetting.is_none and not is_corrected(definition)
    is_faded = not (is_plain or definition.has_tallies)
    newest = 0 if is_plain else aged.newest
    # What fades, and nothing is told apart of, is summed by span, and no row is looked at again.
    rows = sorted(aged.ever.items()) if is_plain else [] if is_faded else aged.rows()
    counted: Sequence[tuple[RowKey, Countable]]
    if definition.reward.is_weighted:
        counted = rewarded(definition, rows, is_plain=is_plain)
    elif is_plain or is_corrected(definition):
        counted = [row for row in rows if not row[0].tally]
    else:
        counted = _faded(definition, aged, fading or Fading())
    maturity = mature(definition, rows, as_of_ms) if is_corrected(definition) else None
    arms = {arm.name: arm for arm in definition.arms}

    def merge(name: str, buckets: Iterable[tuple[RowKey, Countable]]) -> Sums:
        if name == CANDIDATES:
            sums = merge_into(definition.dimension_of(name) or 0, Arm(name), buckets)
            return CandidateSums(sums.dimension, sums.sums.astype(np.float64))
        return merge_into(definition.dimension, arms.get(name, Arm(name)), buckets)

    def merge_into(dimension: int, arm: Arm, buckets: Iterable[tuple[RowKey, Countable]]) -> Countable:
        features = tuple(value for _, value in arm.features)
        if maturity is not None:
            maturing = (
                Maturing(
                    definition.forgetting.weight_for((newest - key.bucket) * definition.bucket_ms),
                    maturity.shares[key.segment, key.arm, key.bucket],
                    maturity.came[key.segment, key.arm, key.bucket],
                    statistics,
                )
                for key, statistics in buckets
            )
            return weigh_maturing(maturing, dimension, definition.reward_exponent, arm.prior, features)
        weighted = (
            (definition.forgetting.weight_for((newest - key.bucket) * definition.bucket_ms), statistics)
            for key, statistics in buckets
        )
        return weigh(weighted, dimension, definition.reward_exponent, arm.prior, features)

    merged = {
        (segment, arm): merge(arm, buckets)
        for (segment, arm), buckets in groupby(counted, key=lambda row: (row[0].segment, row[0].arm))
    }
    segments = {*definition.segments.names, *(segment for segment, _ in merged)}
    known = (*definition.arm_names, *(() if definition.candidates is None else (CANDIDATES,)))
    untried = ((segment, arm) for segment in segments for arm in known)
    weighed = {key: merge(key[1], ()) for key in untried if key not in merged} | merged
    told = _Told(definition, rows, newest, {} if maturity is None else maturity.shares)
    if definition.context_bits is not None:
        return _by_context(told, weighed)
    if definition.counts_groups:
        return _by_group(told, weighed)
    return _by_importance(told, weighed) if definition.counts_propensities else weighed


def _faded(definition: PolicyDefinition, aged: AgedRows, fading: Fading) -> list[tuple[RowKey, Countable]]:
    """Sum the spans of each row by their weights, under the newest bucket: none is left to weigh."""
    sums = fading.sum(Basis(definition.forgetting, aged.newest, definition.bucket_ms), aged.spans)
    generation = definition.generation
    return [
        (RowKey(definition.name, generation, segment, arm, aged.newest), row)
        for (segment, arm), row in sorted(sums.items(), key=lambda one: one[0])
    ]


class _Told(NamedTuple):
    """What is told apart beside the sums, and how its buckets count."""

    definition: PolicyDefinition
    rows: Rows
    newest: int
    """The newest bucket with decisions."""
    shares: Mapping[Place, float]
    """How much of a bucket's decisions counts by now; whole where it isn't said."""

    def of(self, name: str) -> dict[Row, list[tuple[float, float, str, Statistics]]]:
        """Return the rows of tallies whose names begin so, by segment and arm: weight, maturity, name and row.

        One whose decisions were all erased counts for nothing, and its bucket may be newer than all that count.
        """
        found: defaultdict[Row, list[tuple[float, float, str, Statistics]]] = defaultdict(list)
        counted = (one for one in self.rows if one[0].tally.startswith(name) and one[1].n)
        for key, row in sorted(counted, key=lambda one: one[0]):
            weight = self.definition.forgetting.weight_for((self.newest - key.bucket) * self.definition.bucket_ms)
            maturity = self.shares.get((key.segment, key.arm, key.bucket), 1.0)
            found[key.segment, key.arm].append((weight, maturity, key.tally, row))
        return found


def _by_context(told: _Told, weighed: Mapping[Row, Sums]) -> dict[Row, Sums]:
    """Add to sums what the rows say of each context; a context's open decisions are those of its bucket."""
    definition, found = told.definition, told.of(CONTEXT_ROW)
    priors = {arm.name: arm.prior for arm in definition.arms}
    d, bits, exponent = definition.dimension, definition.context_bits or 0, definition.reward_exponent
    return {
        (segment, arm): weigh_contexts(found[segment, arm], sums, d, bits, exponent, priors.get(arm))
        for (segment, arm), sums in weighed.items()
    }


def _by_group(told: _Told, weighed: Mapping[Row, Sums]) -> dict[Row, Sums]:
    """Add to sums those of each group; a group's open decisions are those of its bucket."""
    definition, found = told.definition, told.of(GROUP_ROW)
    priors = {arm.name: arm.prior for arm in definition.arms}
    d, exponent = definition.dimension, definition.reward_exponent
    return {
        (segment, arm): weigh_groups(found[segment, arm], sums, d, exponent, priors.get(arm))
        for (segment, arm), sums in weighed.items()
    }


def _by_importance(told: _Told, weighed: Mapping[Row, Sums]) -> dict[Row, Sums]:
    """Add to sums what the rows say of the same decisions by 1 / propensity."""
    definition, found = told.definition, told.of(IMPORTANCE_ROW)
    weights = definition.reward.weights if definition.reward.is_weighted else Weights((1,), 0)
    priors = {arm.name: arm.prior for arm in definition.arms}
    return {
        (segment, arm): weigh_importance(
            ((weight, maturity, row) for weight, maturity, _, row in found[segment, arm]),
            sums,
            weights,
            priors.get(arm),
            definition.reward_exponent,
        )
        for (segment, arm), sums in weighed.items()
    }
