"""What an operator's directive makes of publishing: hold, go back, go on. Pure.

A directive is acted on once. What is stored is the number of the last one, and it goes to the changelog in one batch
with the snapshot that came of it: neither a crash nor another worker that has read less of `policies` acts on it again.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from pipeline.codec import avro
from pipeline.errors import StateError
from pipeline.policy.directive import UNPIN, Action, Directive

VERSION = 1


class Hold(NamedTuple):
    """The last directive that was acted on."""

    number: int = 0
    """Its number."""
    action: Action = UNPIN
    """What it ordered."""

    @property
    def is_held(self) -> bool:
        """Whether nothing that is learned is published."""
        return self.action != UNPIN

    def is_before(self, directive: Directive | None) -> bool:
        """Return whether a directive is still to be acted on."""
        return directive is not None and directive.number > self.number

    def to_bytes(self) -> bytes:
        """Write the stored form."""
        return orjson.dumps([VERSION, self.number, self.action])


def hold_from_bytes(stored: bytes) -> Hold:
    """Read the stored form.

    Raises:
        StateError: written by a version that this code does not know.
    """
    version, *fields = orjson.loads(stored)
    if version != VERSION:
        raise StateError(f"hold of version {version}, this code reads {VERSION}: use the release that wrote it")
    return Hold(*fields)


def republish(content: bytes, version: int, parent: str) -> bytes:
    """Return a snapshot's content under another version: posterior, definition and provenance are the old ones."""
    record = avro.decode_as("snapshot", content)
    return avro.encode("snapshot", record | {"version": version, "parent": parent, "rollback_of": record["version"]})
