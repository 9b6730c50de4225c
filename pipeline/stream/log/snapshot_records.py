"""The snapshots among a topic's records, for commands: what is none is passed over by its offset, and told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.codec import avro
from pipeline.errors import DecodeError
from pipeline.publish.parts import part_of
from pipeline.stream.log.passed_over import PassedOver


def snapshots_in(records: Iterable[Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield each record that is a snapshot, with its fields; its parts and tombstones are none."""
    passed_over: dict[str, PassedOver] = {}
    for record in records:
        try:
            if record.value is None or part_of(record.key):
                continue
            fields = avro.decode_as("snapshot", record.value)
        except (DecodeError, UnicodeDecodeError) as error:
            tell = passed_over.setdefault(record.topic, PassedOver(record.topic))
            tell(record.partition, record.offset, error)
            continue
        yield record, fields
