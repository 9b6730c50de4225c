"""A record that JOIN has sent on to the partition of its action: as it was, and where it was read."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.codec import avro
from pipeline.codec.schemas import current_schema
from pipeline.errors import RecordError

_HEAD = avro.MARKER + current_schema("forwarded").fingerprint


class Forwarded(NamedTuple):
    """See `schemas/forwarded.avsc`."""

    source_partition: int
    source_offset: int
    record_timestamp_ms: int
    is_broker_time: bool
    record_key: bytes | None
    raw: bytes

    def to_bytes(self) -> bytes:
        """Write the record."""
        return avro.encode("forwarded", self._asdict())


def forwarded_in(raw: bytes | None) -> Forwarded | None:
    """Return what was sent on; None where the bytes are anything else."""
    if raw is None or raw[: len(_HEAD)] != _HEAD:
        return None
    try:
        return Forwarded(**avro.decode_as("forwarded", raw))
    except RecordError:
        return None
