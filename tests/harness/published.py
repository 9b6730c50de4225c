"""The snapshots among a topic's records, by the words of `schemas/snapshot_outline.avsc` and decision 13."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.codec import avro
from pipeline.publish.parts import SnapshotContent, part_of, whole


class Published(NamedTuple):
    """A snapshot as a topic has it."""

    id: str
    """SHA-256 of its record; of an outline what it says that of its snapshot's is."""
    fields: Mapping[str, Any]
    """With what its parts hold; of an outline without parameters, and of parts nothing."""
    content: bytes
    """The record."""
    is_outline: bool = False


def published_in(records: Iterable[Any]) -> list[Published]:
    """Return each snapshot, from the first record on; fails if what it needs does not stand before it."""
    parts: dict[str, bytes] = {}
    definitions: dict[str, tuple[str, str]] = {}
    found = []
    for record in records:
        if part := part_of(record.key):
            if record.value is None:
                parts.pop(part[1], None)  # deleted again after a crash, or never sent
            else:
                parts[part[1]] = record.value
            continue
        kind, fields = avro.decode(record.value)
        if kind == "snapshot":
            found.append(
                Published(
                    hashlib.sha256(record.value).hexdigest(),
                    whole(SnapshotContent(record.value, parts)),
                    record.value,
                )
            )
            definitions[fields["policy"]] = fields["definition_hash"], fields["definition"]
        else:
            bare = avro.decode_as("snapshot", fields["outline"])
            hash_, definition = definitions.get(bare["policy"], ("none stands before it", ""))
            assert hash_ == bare["definition_hash"], f"version {bare['version']} of {bare['policy']} is an outline"
            found.append(Published(fields["id"], bare | {"definition": definition}, record.value, is_outline=True))
    return found
