"""The snapshots among a topic's records, for commands: what is none is passed over by its offset, and told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.errors import DecodeError
from pipeline.publish.outline import Kept, Outlines
from pipeline.publish.parts import part_of
from pipeline.stream.log.passed_over import PassedOver


class SnapshotReader:
    """Reads one of the topics that snapshots are sent to, batch by batch."""

    def __init__(self) -> None:
        self._outlines = Outlines()
        self._passed_over: dict[str, PassedOver] = {}

    def read(self, records: Iterable[Any]) -> Iterator[tuple[Any, Kept]]:
        """Yield each record that is a snapshot, with what it says; its parts and tombstones are none."""
        for record in records:
            try:
                if record.value is None or part_of(record.key):
                    continue
                found = self._outlines.read(record.value)
            except (DecodeError, UnicodeDecodeError) as error:
                tell = self._passed_over.setdefault(record.topic, PassedOver(record.topic))
                tell(record.partition, record.offset, error)
                continue
            if found is not None:
                yield record, found
