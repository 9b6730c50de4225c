"""The sums of spans by their weights, going on from those of the snapshot before. Pure.

Invariant: spans are added up from the oldest to the newest, so what is gone on from is what adding all of them up
gives, to the bit. What has been added up stands for the oldest spans, as many as did not change lately: a snapshot
costs the rows of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pipeline.models.sums.forgetting import Forgetting
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import Countable, WeightedSums
from pipeline.publish.aged_rows import Span

Weighed = tuple[Span, float]
_Sums = dict[tuple[str, str], tuple[int, NDArray[Any]]]
"""By segment and arm: dimension, and the sums."""


class Fading:
    """What was added up last for one policy; nothing at first."""

    def __init__(self) -> None:
        self._spans: Sequence[Weighed] = ()
        self._is_exact = True
        self._stands_for = 0
        """How many of the oldest spans."""
        self._sums: _Sums = {}
        self._forgetting = Forgetting()
        self._newest = 0
        self._bucket_ms = 0
        self._weights: dict[int, float] = {}
        """By bucket, of these three."""

    def weigh(self, forgetting: Forgetting, newest: int, bucket_ms: int, spans: Sequence[Span]) -> list[Weighed]:
        """Return spans with their weights, which change with the newest bucket alone."""
        if (forgetting, newest, bucket_ms) != (self._forgetting, self._newest, self._bucket_ms):
            self._forgetting, self._newest, self._bucket_ms, self._weights = forgetting, newest, bucket_ms, {}
        weights = self._weights
        for span in spans:
            if span.bucket not in weights:
                weights[span.bucket] = forgetting.weight_for(max(0, newest - span.bucket) * bucket_ms)
        return [(span, weights[span.bucket]) for span in spans]

    def sum(self, spans: Sequence[Weighed], *, is_exact: bool) -> dict[tuple[str, str], Countable]:
        """Add up each segment's and arm's decisions.

        Args:
            spans: with their weights, the oldest first.
            is_exact: whether all weights are 0 or 1, so that sums stay whole numbers.
        """
        same = self._same(spans) if is_exact == self._is_exact else 0
        if self._stands_for > same or not self._stands_for:
            self._sums, self._stands_for = _added({}, spans[:same], is_exact=is_exact), same
        self._spans, self._is_exact = spans, is_exact
        sums = _added(dict(self._sums), spans[self._stands_for :], is_exact=is_exact)
        if is_exact:
            return {row: Statistics(dimension, columns) for row, (dimension, columns) in sums.items()}
        return {row: WeightedSums(dimension, columns) for row, (dimension, columns) in sums.items()}

    def _same(self, spans: Sequence[Weighed]) -> int:
        """Return how many of the oldest are what they were."""
        count = 0
        for (span, weight), (before, weight_before) in zip(spans, self._spans, strict=False):
            if span is not before or weight != weight_before:
                break
            count += 1
        return count


def _added(sums: _Sums, spans: Sequence[Weighed], *, is_exact: bool) -> _Sums:
    for span, weight in spans:
        if weight == 0.0:
            continue
        for key, row in span.rows.items():
            if key.tally:
                continue
            columns = row.sums if is_exact else weight * row.sums
            held = sums.get((key.segment, key.arm))
            sums[key.segment, key.arm] = row.dimension, columns if held is None else held[1] + columns
    return sums
