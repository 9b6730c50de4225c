"""The sums of spans by their weights, going on from those of the snapshot before. Pure.

Invariant: spans are added up from the oldest to the newest, so what is gone on from is what adding all of them up
gives, to the bit. What has been added up stands for the oldest spans, as many as did not change lately: a snapshot
costs the rows of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from pipeline.models.sums.forgetting import Forgetting
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import Countable, WeightedSums
from pipeline.publish.aged_rows import Span, Unchanged

_Sums = dict[tuple[str, str], tuple[int, NDArray[Any]]]
"""By segment and arm: dimension, and the sums."""


class Basis(NamedTuple):
    """What, beside the spans, weighted sums are a function of."""

    forgetting: Forgetting
    newest: int
    """Bucket with decisions."""
    bucket_ms: int

    def weight_of(self, span: Span) -> float:
        """Return what a decision of a span counts for."""
        return self.forgetting.weight_for(max(0, self.newest - span.bucket) * self.bucket_ms)


class Fading:
    """What was added up last for one policy; nothing at first."""

    def __init__(self) -> None:
        self._basis: Basis | None = None
        self._unchanged = Unchanged()
        self._sums: _Sums = {}
        """Of those."""

    def sum(self, basis: Basis, spans: Sequence[Span]) -> dict[tuple[str, str], Countable]:
        """Add up each segment's and arm's decisions.

        Args:
            basis: gives the weights. A window's are 0 or 1, and such sums stay whole numbers.
            spans: the oldest first.
        """
        if basis != self._basis:
            self._basis, self._unchanged = basis, Unchanged()
        known = self._unchanged.look(spans)
        count = self._unchanged.count
        self._sums = _added(dict(self._sums) if known else {}, spans[known:count], basis)
        sums = _added(dict(self._sums), spans[count:], basis)
        if basis.forgetting.half_life_ms is None:
            return {row: Statistics(dimension, columns) for row, (dimension, columns) in sums.items()}
        return {row: WeightedSums(dimension, columns) for row, (dimension, columns) in sums.items()}


def _added(sums: _Sums, spans: Sequence[Span], basis: Basis) -> _Sums:
    is_exact = basis.forgetting.half_life_ms is None
    for span in spans:
        weight = basis.weight_of(span)
        if weight == 0.0:
            continue
        for key, row in span.rows.items():
            if key.tally:
                continue
            columns = row.sums if is_exact else weight * row.sums
            held = sums.get((key.segment, key.arm))
            sums[key.segment, key.arm] = row.dimension, columns if held is None else held[1] + columns
    return sums
