"""What LEARN tells PUBLISH: the rows that have changed, and behind those of a policy generation a mark. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson

from pipeline.codec import avro
from pipeline.learn.memory import FoldState, RowKey
from pipeline.models.sums.statistics import Statistics


class Told(NamedTuple):
    """One record of `statistics`."""

    policy: str
    name: bytes
    """Of the row or the mark, whichever partition it comes from. By name, a policy's rows come before its mark."""
    key: bytes
    value: bytes


def row_told(source: int, key: RowKey, row: Statistics, state: FoldState) -> Told:
    """Return a row of one partition of the ledger, as it is at a state."""
    name = key.to_bytes()
    fields = {
        **key._asdict(),
        "source_partition": source,
        "ledger_offset": state.position,
        "dimension": row.dimension,
        "sums": row.to_bytes(),
    }
    return Told(key.policy, name, name + b"@%d" % source, avro.encode("statistics", fields))


def mark_told(source: int, policy: str, generation: int, state: FoldState) -> Told:
    """Return the mark that says: all rows of a policy generation are told as they are at a state."""
    fields = {
        "policy": policy,
        "generation": generation,
        "source_partition": source,
        "ledger_offset": state.position,
        "event_time_ms": state.watermark_ms,
    }
    key = f"{policy}/{generation}@{source}".encode()
    return Told(policy, orjson.dumps([policy, generation]), key, avro.encode("statistics_mark", fields))


def step_told(source: int, rows: Iterable[tuple[RowKey, Statistics]], state: FoldState) -> Iterator[Told]:
    """Yield what a step tells: the rows that it has changed, then the marks."""
    generations = set()
    for key, row in rows:
        generations.add((key.policy, key.generation))
        yield row_told(source, key, row, state)
    for policy, generation in sorted(generations):
        yield mark_told(source, policy, generation, state)
