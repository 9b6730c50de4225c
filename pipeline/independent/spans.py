"""Buckets → what is counted together. Pure.

The widest block of 1, 2, 4, 8 … buckets, each beginning at a multiple of its width, whose last bucket is at least 16 of
its widths before the newest bucket in which anything was decided; a bucket for which no block is old enough is alone.
A block counts as its middle bucket does.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.independent.fold import Sums

WIDTHS_BETWEEN = 16
WIDEST = 40


class Spans(NamedTuple):
    """Sums by span."""

    sums: Sums
    """In the place of a bucket, the middle one of its span."""
    ends: dict[int, int]
    """By middle bucket, the last one of the span."""
    newest: int
    """The newest bucket with decisions; 0 without any."""


def by_span(sums: Sums) -> Spans:
    """Add up what is counted together."""
    newest = newest_of(sums)
    found: Sums = {}
    ends: dict[int, int] = {}
    for (segment, arm, bucket, tally), columns in sums.items():
        middle, last = _block(bucket, newest)
        ends[middle] = last
        held = found.setdefault((segment, arm, middle, tally), [0] * len(columns))
        for place, column in enumerate(columns):
            held[place] += column
    return Spans(found, ends, newest)


def by_bucket(sums: Sums) -> Spans:
    """Leave every bucket alone, as releases did before."""
    return Spans(sums, {bucket: bucket for _, _, bucket, _ in sums}, newest_of(sums))


def newest_of(sums: Sums) -> int:
    """Return the newest bucket with decisions."""
    return max((bucket for (_, _, bucket, tally), columns in sums.items() if not tally and columns[0]), default=0)


def _block(bucket: int, newest: int) -> tuple[int, int]:
    """Return the middle and the last bucket of the block.

    >>> _block(1000, 1001), _block(1000, 1063)
    ((1000, 1000), (1001, 1001))
    """
    for power in range(WIDEST, 0, -1):
        width = 2**power
        start = bucket // width * width
        last = start + width - 1
        if newest - last >= WIDTHS_BETWEEN * width:
            return start + width // 2, last
    return bucket, bucket
