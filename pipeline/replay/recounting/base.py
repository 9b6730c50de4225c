"""What a replay sends: its statistics under sources of their own, and the base that puts them in force. Pure.

Sources are negative, so that none is a partition of the ledger, and each is sent once, as one record batch: its rows
and their mark. A replay that goes on sends everything anew under the next sources, and a base that names those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from pipeline.codec import avro
from pipeline.codec.readable import PassOver, readable, refuse
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Base, base_from
from pipeline.replay.recounting.cuts import Cut, from_positions, to_positions
from pipeline.replay.recounting.plan import ReplayPlan

FIRST_SOURCE = -1
# PUBLISH writes a source's rows as one record batch of its changelog, behind others of up to 2 MB; 8 MB is the bound.
SOURCE_BYTES = 2 << 20
OFFSET = 1
"""Of every row and mark: a source is complete, or not there."""


class FoundBase(NamedTuple):
    """A base in the topic, with what it stands for."""

    base: Base
    rows: Sequence[tuple[RowKey, Statistics]]
    """Its statistics, by key."""
    offset: int
    """Where the record is in its partition of `statistics`."""

    @property
    def cuts(self) -> list[Cut]:
        """Between which offsets the log was read."""
        return [from_positions(positions) for positions in self.base.cuts]

    @property
    def next_source(self) -> int:
        """Return the first source that is free."""
        return source_after(self.base.first_source, self.base.sources)


def source_after(first_source: int, sources: int) -> int:
    """Return the first source of the next base; an empty base takes one too, to be told from the next.

    >>> source_after(-1, 2), source_after(-3, 0)
    (-3, -4)
    """
    return first_source - max(1, sources)


def base_key(policy: str, generation: int) -> bytes:
    """Return the key of a generation's base.

    >>> base_key("homepage", 3)
    b'homepage/3/base'
    """
    return f"{policy}/{generation}/base".encode()


def source_batches(
    plan: ReplayPlan, rows: Iterable[tuple[RowKey, Statistics]], first_source: int, event_time_ms: int
) -> list[dict[bytes, bytes]]:
    """Return one batch of records, by key, for each source."""
    name, generation = plan.definition.name, plan.definition.generation
    batches = []
    for index, group in enumerate(_groups(sorted(rows, key=lambda row: row[0]))):
        source = first_source - index
        batch = {key.to_bytes() + b"@%d" % source: _row(key, row, source) for key, row in group}
        mark = {"policy": name, "generation": generation, "source_partition": source}
        mark |= {"ledger_offset": OFFSET, "event_time_ms": event_time_ms}
        batch[f"{name}/{generation}@{source}".encode()] = avro.encode("statistics_mark", mark)
        batches.append(batch)
    return batches


def base_record(plan: ReplayPlan, cuts: Sequence[Cut], first_source: int, sources: int, event_time_ms: int) -> bytes:
    """Return the record that puts sources in force."""
    return avro.encode(
        "statistics_base",
        {
            "policy": plan.definition.name,
            "generation": plan.definition.generation,
            "plan": plan.to_json(),
            "cuts": [to_positions(cut) for cut in cuts],
            "first_source": first_source,
            "sources": sources,
            "event_time_ms": event_time_ms,
        },
    )


class FindBase:
    """Looks for a generation's base, record by record."""

    def __init__(self, policy: str, generation: int, pass_over: PassOver = refuse) -> None:
        self._pass_over = pass_over
        self._base_key = base_key(policy, generation)
        self._row_prefix = orjson.dumps([policy, generation])[:-1] + b","
        self._rows: dict[tuple[int, RowKey], Statistics] = {}
        self._base: Base | None = None
        self._offset = -1
        self._lowest_source = 0

    @property
    def free_source(self) -> int:
        """Return the first source below all that were ever sent, those of an interrupted run too."""
        below_base = FIRST_SOURCE if self._base is None else source_after(self._base.first_source, self._base.sources)
        return min(below_base, self._lowest_source - 1)

    def see(self, partition: int, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Take in the next record."""
        if key is None or value is None:
            return
        if key == self._base_key:
            for _, _, fields in readable(partition, [(offset, value)], "statistics_base", pass_over=self._pass_over):
                self._base, self._offset = base_from(fields), offset
        elif key.startswith(self._row_prefix) and key.rpartition(b"@")[2].startswith(b"-"):
            self._see_row(partition, offset, value)

    def _see_row(self, partition: int, offset: int, value: bytes) -> None:
        for _, _, fields in readable(partition, [(offset, value)], "statistics", pass_over=self._pass_over):
            row = RowKey(*(fields[name] for name in RowKey._fields))
            statistics = Statistics(fields["dimension"], np.frombuffer(fields["sums"], dtype="<i8"))
            self._rows[fields["source_partition"], row] = statistics
            self._lowest_source = min(self._lowest_source, fields["source_partition"])

    @property
    def found(self) -> FoundBase | None:
        """The last base, if there is one."""
        base = self._base
        if base is None:
            return None
        rows = [(key, row) for (source, key), row in self._rows.items() if base.has(source)]
        return FoundBase(base, sorted(rows, key=lambda row: row[0]), self._offset)


def _groups(rows: Sequence[tuple[RowKey, Statistics]]) -> Iterator[Sequence[tuple[RowKey, Statistics]]]:
    start, size = 0, 0
    for index, (key, row) in enumerate(rows):
        size += 2 * len(key.to_bytes()) + row.sums.nbytes
        if size > SOURCE_BYTES and index > start:
            yield rows[start:index]
            start, size = index, 2 * len(key.to_bytes()) + row.sums.nbytes
    if start < len(rows):
        yield rows[start:]


def _row(key: RowKey, row: Statistics, source: int) -> bytes:
    fields: Mapping[str, Any] = {
        **key._asdict(),
        "source_partition": source,
        "ledger_offset": OFFSET,
        "dimension": row.dimension,
        "sums": row.to_bytes(),
    }
    return avro.encode("statistics", fields)
