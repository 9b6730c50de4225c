"""The line of a policy's snapshots: numbered without gap or reuse, each naming the one before. Pure.

A snapshot's id is the hash of its bytes and stands in no record but as the next one's parent: an altered snapshot is
one that its successor does not name. An outline says the id of what it is of; its successor's parent is held to that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.codec import avro
from pipeline.publish.outline import Kept
from pipeline.publish.snapshot import snapshot_id
from pipeline.replay.proof.compare import Difference


class _Known(NamedTuple):
    """What is kept of a snapshot."""

    id: str
    content_hash: str
    """Of all but what a rollback makes anew."""
    outline_hash: str
    """The same without posteriors' parameters, which an outline has none of."""
    is_outline: bool


class Lineage:
    """One policy's line, as far as it was read; the first fault is kept."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.fault: Difference | None = None
        """The first."""
        self.first = 0
        """The oldest version that is held; older ones have aged out."""
        self.last = 0
        """The newest."""
        self.rollbacks = 0
        """Snapshots that are an older one's content."""
        self.unproven_rollbacks = 0
        """Those whose older one has aged out."""
        self._known: dict[int, _Known] = {}

    @property
    def count(self) -> int:
        """How many versions were read."""
        return len(self._known)

    def add(self, one: Kept) -> bool:
        """Take the next record of the history; return whether it is a new snapshot, not one that was sent again."""
        version, id_, fields = one.fields["version"], one.id, one.fields
        known = self._known.get(version)
        if known is not None:
            if known.id != id_:
                self._note(f"version {version} is used twice", id_, known.id)
            return False
        outlined = _content_hash({**fields, "segments": [{**each, "parameters": []} for each in fields["segments"]]})
        this = _Known(id_, outlined if one.is_outline else _content_hash(fields), outlined, one.is_outline)
        self._check_place(version, fields["parent"])
        self._check_definition(version, fields)
        self._check_rollback(version, fields["rollback_of"], this)
        self.first = self.first or version
        self.last = version
        self._known[version] = this
        return True

    def check_live(self, content: bytes) -> None:
        """Hold the record of the topic `snapshots` against the history, if that has its version."""
        version = avro.decode_as("snapshot", content)["version"]
        known = self._known.get(version)
        if known is not None and known.id != snapshot_id(content):
            where = f"version {version} in snapshots is another than in snapshot-history"
            self._note(where, snapshot_id(content), known.id)

    def _check_place(self, version: int, parent: str) -> None:
        if not self._known:
            if version == 1 and parent:
                self._note("version 1: parent", parent, "none")
            return
        if version != self.last + 1:
            self._note(f"version {version}: number after {self.last}", str(version), str(self.last + 1))
        before = self._known[self.last]
        if parent != before.id:
            self._note(f"version {version}: parent", parent or "none", f"{before.id}, the id of version {self.last}")

    def _check_definition(self, version: int, fields: Mapping[str, Any]) -> None:
        found = hashlib.sha256(fields["definition"].encode()).hexdigest()
        if found != fields["definition_hash"]:
            self._note(f"version {version}: definition_hash", fields["definition_hash"], found)

    def _check_rollback(self, version: int, of: int, this: _Known) -> None:
        if not of:
            return
        self.rollbacks += 1
        if of >= version:
            self._note(f"version {version}: rollback_of", str(of), f"a version before {version}")
        elif of in self._known:
            other = self._known[of]
            is_outlined = this.is_outline or other.is_outline
            seen, expected = (each.outline_hash if is_outlined else each.content_hash for each in (this, other))
            if seen != expected:
                self._note(f"version {version}: content of version {of}", seen, expected)
        else:
            self.unproven_rollbacks += 1

    def _note(self, where: str, published: str, recomputed: str) -> None:
        self.fault = self.fault or Difference(where, published, recomputed)


def _content_hash(fields: Mapping[str, Any]) -> str:
    content = avro.encode("snapshot", {**fields, "version": 0, "parent": "", "rollback_of": 0})
    return hashlib.sha256(content).hexdigest()
