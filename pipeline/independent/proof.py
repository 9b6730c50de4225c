"""A snapshot against the sums of its prefix of the ledger: equal, or the first difference in words. Pure.

`posterior_sha256` covers every sum; it is made here from its description in `publish/snapshot.py`. Counts, exposures
and parameters are held against the sums beside it, since the hash says nothing of them. What can't be is named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from pipeline.independent.definition import (
    Plain,
    bucket_ms,
    delay_kinds,
    has_tallies,
    hashed_parts,
    is_corrected,
    is_weighted,
    read_definition,
)
from pipeline.independent.fold import Sums
from pipeline.independent.posterior import Difference, differences, is_simple, prior_sums, weighed
from pipeline.independent.spans import Spans, by_bucket, by_span

Snapshot = Mapping[str, Any]
MOST_BITS = 12
SETTLED = "settled"
WATCHED = "watch:"
"""Before rows that monitors read: no posterior is a function of them, so they are in no hash."""


class Folded(NamedTuple):
    """A prefix of the ledger."""

    sums: Sums
    records: int
    """Read for it, those of other policies included."""
    event_time_ms: int
    """The latest that is in; 0 of an empty prefix."""


class _Counted(NamedTuple):
    """A prefix, as a snapshot counts it."""

    spans: Spans
    hashes: list[str]
    """Any of them may be the snapshot's."""


class Proof(NamedTuple):
    """What holding a snapshot against its ledger came to."""

    difference: Difference | None
    """None: equal, as far as it was looked at."""
    left_out: tuple[str, ...] = ()
    """What could not be looked at, in words."""


def prove(snapshot: Snapshot, folded: Folded, *, is_outline: bool = False) -> Proof:
    """Hold a snapshot against the sums that its ledger comes to; an outline has no parameters."""
    plain = read_definition(snapshot["definition"])
    left_out = []
    if is_outline:
        left_out.append("parameters, which its outline leaves out (posterior_sha256 covers the sums)")
    elif snapshot["parts"]:
        left_out.append("counts and parameters, which are in parts of their own (posterior_sha256 covers the sums)")
    elif not is_simple(plain):
        left_out.append(f"parameters of {plain['algorithm']['name']} (posterior_sha256 covers the sums)")
    has_parameters = not is_outline and is_simple(plain)
    found = _differences(snapshot, plain, folded, has_parameters=has_parameters)
    return Proof(next(found, None), tuple(left_out))


def _differences(snapshot: Snapshot, plain: Plain, folded: Folded, *, has_parameters: bool) -> Iterator[Difference]:
    spans, hashes = _counted(snapshot, plain, folded)
    if not snapshot["parts"]:
        yield from _count_differences(snapshot, plain, folded.sums)
    yield from _exposure_differences(snapshot, plain, spans)
    if has_parameters:
        yield from _parameter_differences(snapshot, plain, spans)
    if snapshot["posterior_sha256"] not in hashes:
        yield Difference("posterior_sha256", snapshot["posterior_sha256"], hashes[-1])


def _counted(snapshot: Snapshot, plain: Plain, folded: Folded) -> _Counted:
    """Count buckets together, or each alone if the snapshot's hash is of that: a release before published it."""
    alone = hashes_by_bucket(plain, folded)
    if snapshot["posterior_sha256"] in alone:
        return _Counted(by_bucket(folded.sums), alone)
    return _Counted(by_span(folded.sums), posterior_hashes(plain, folded))


def posterior_hashes(plain: Plain, folded: Folded) -> list[str]:
    """Hash the sums; where contexts are told apart, in each number of bits: one is right, and no other sums give it."""
    rows: dict[int, list[list[Any]]] = {}
    for (segment, arm, bucket, tally), columns in sorted(by_span(folded.sums).sums.items()):
        if any(columns) and (not tally or (has_tallies(plain) and not tally.startswith(WATCHED))):
            rows.setdefault(bucket, []).append([segment, arm, tally, columns])
    digests = [[bucket, hashlib.sha256(_text(found).encode()).hexdigest()] for bucket, found in sorted(rows.items())]
    return _hashes(plain, folded, {"spans": digests})


def hashes_by_bucket(plain: Plain, folded: Folded) -> list[str]:
    """Hash the sums of every bucket."""
    sums = dict(sorted(folded.sums.items()))
    parts: dict[str, Any] = {
        "rows": [
            [segment, arm, bucket, dimension_of(columns), columns]
            for (segment, arm, bucket, tally), columns in sums.items()
            if not tally and columns[0]
        ]
    }
    if has_tallies(plain):
        parts["tallies"] = [
            [*row, columns]
            for row, columns in sums.items()
            if row[3] and not row[3].startswith(WATCHED) and any(columns)
        ]
    return _hashes(plain, folded, parts)


def _hashes(plain: Plain, folded: Folded, of_sums: dict[str, Any]) -> list[str]:
    parts = hashed_parts(plain) | of_sums
    if is_corrected(plain):
        parts["delays"] = [_open_until(folded), bucket_ms(plain), delay_kinds(plain)]
    if "contexts" not in plain["statistics"]:
        return [_hash(parts)]
    return [_hash(parts | {"contexts": bits}) for bits in range(MOST_BITS + 1)]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _hash(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(parts).encode()).hexdigest()


def _open_until(folded: Folded) -> int:
    """Return the event time, 0 where no decision is open: then it makes no difference."""
    decided = sum(columns[0] for row, columns in folded.sums.items() if not row[3])
    settled = sum(columns[0] for row, columns in folded.sums.items() if row[3] == SETTLED)
    return max(folded.event_time_ms, 0) if decided != settled else 0


def dimension_of(columns: list[int]) -> int:
    """Return the entries of the contexts that sums are of: 3 + d + d (d + 1) / 2 columns.

    >>> dimension_of([0] * 8)
    2
    """
    d = 0
    while 3 + d + d * (d + 1) // 2 < len(columns):
        d += 1
    return d


def _count_differences(snapshot: Snapshot, plain: Plain, sums: Sums) -> Iterator[Difference]:
    counted: dict[tuple[str, str], list[int]] = {}
    for (segment, arm, _, tally), columns in sums.items():
        if not tally and columns[0] and any(one["name"] == arm for one in plain["arms"]):
            known = counted.setdefault((segment, arm), [0, 0])
            known[0] += columns[0]
            known[1] += columns[1]
    for segment in snapshot["segments"]:
        told = zip(segment["arms"], segment["counts"], segment["reward_sums"], strict=True)
        for arm, count, reward_sum in told:
            expected = counted.pop((segment["segment"], arm), [0, 0])
            where = f"segment {segment['segment']}, arm {arm}"
            if count != expected[0]:
                yield Difference(f"{where}: count", str(count), str(expected[0]))
            if reward_sum != expected[1] and not is_weighted(plain):
                yield Difference(f"{where}: reward sum in grid units", str(reward_sum), str(expected[1]))
    for (name, arm), expected in counted.items():
        yield Difference(f"segment {name}, arm {arm}", "missing", f"{expected[0]} decisions")


def _exposure_differences(snapshot: Snapshot, plain: Plain, spans: Spans) -> Iterator[Difference]:
    arms = sorted(arm["name"] for arm in plain["arms"])
    for seen in snapshot["exposures"]:
        first = (seen["until_ms"] - seen["window_ms"]) // bucket_ms(plain)
        counts = dict.fromkeys(arms, 0)
        for (_, arm, bucket, tally), columns in spans.sums.items():
            if not tally and arm in counts and spans.ends[bucket] >= first:
                counts[arm] += columns[0]
        if list(counts.values()) != seen["counts"]:
            where = f"exposures within {seen['window_ms']} ms"
            yield Difference(where, str(seen["counts"]), str(list(counts.values())))


def _parameter_differences(snapshot: Snapshot, plain: Plain, spans: Spans) -> Iterator[Difference]:
    for segment in snapshot["segments"]:
        theta = next((one for one in segment["parameters"] if one["name"] == "theta"), None)
        dimension = theta["shape"][1] if theta else _dimension(spans)
        found = weighed(plain, spans, dimension)
        known: dict[str, list[Fraction]] = {
            arm: found.get((segment["segment"], arm)) or prior_sums(plain, arm, dimension) for arm in segment["arms"]
        }
        yield from differences(plain, segment, known)


def _dimension(spans: Spans) -> int:
    return next((dimension_of(columns) for row, columns in spans.sums.items() if not row[3]), 0)
