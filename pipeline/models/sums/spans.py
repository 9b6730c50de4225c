"""Spans: the buckets of event time that are old are counted together, the more of them the older they are.

    buckets   988 … 991   992 … 995   996 … 999   1000 1001   …   1030 1031   1032   1033   …   newest: 1063
    spans     ├── 990 ──┤ ├── 994 ──┤ ├── 998 ──┤ ├─ 1001 ─┤  …   ├─ 1031 ─┤  1032   1033   …

A span is as wide as it may be: 2^k buckets that begin at a multiple of 2^k, the newest of which is at least 16 · 2^k
buckets older than the newest bucket with data. So which buckets are counted together is a function of their numbers
alone; as time goes on spans only ever join, whole; and there are 16 more for each doubling of the oldest one's age
(180 for two years of hours). A span counts by the age of the bucket in its middle. None is further from that than a
32nd of its own age, and younger than 32 buckets each stands for itself.
"""

from __future__ import annotations

from typing import NamedTuple

FINEST = 16
"""Widths that lie between a span and the newest bucket, at the least."""


class Place(NamedTuple):
    """Where a span lies."""

    middle: int
    """The bucket by whose age it counts, and by which it is named."""
    last: int
    """Its newest bucket."""


def span_for(bucket: int, newest: int) -> Place:
    """Return the span that a bucket is counted in.

    >>> [span_for(bucket, 1063).middle for bucket in (1063, 1032, 1031, 1030, 999, 996, 991)]
    [1063, 1032, 1031, 1031, 998, 998, 990]
    """
    width = 1
    while newest - (bucket | (2 * width - 1)) >= FINEST * 2 * width:
        width *= 2
    start = bucket & -width
    return Place(start + width // 2, start + width - 1)
