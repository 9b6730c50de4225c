"""What `snapshot-history` has of a snapshot: the record itself, or its outline. Pure.

A posterior's parameters are nearly all of a snapshot's bytes, change in every bit from one to the next, and follow from
the exact statistics that `posterior_sha256` is taken over. So of a policy that publishes much, most versions are kept
as outlines: id, parent, offsets, counts, sums and hashes, which is what the lineage, a proof and a comparison ask for.
How many stay whole is a budget of bytes (ops/decisions/0064-snapshot-history.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.codec import avro
from pipeline.publish.snapshot import snapshot_id

BURST_BYTES = 32 << 20
"""So many bytes of a policy's snapshots are kept whole at once."""
BYTES_PER_S = BURST_BYTES / 86_400
"""And as many again a day."""
WHOLE_AFTER_S = 6 * 3_600.0
"""One is whole at least this often, whatever its size."""

SCHEMAS = ("snapshot", "snapshot_outline")


class Kept(NamedTuple):
    """A snapshot as a topic has it."""

    id: str
    """Of the snapshot, whole."""
    content: bytes
    """A `snapshot` record; of an outline one without parameters, which says nothing of what it had."""
    fields: Mapping[str, Any]
    """The same, decoded."""
    is_outline: bool = False


def kept(raw: bytes) -> Kept:
    """Read a record of `snapshot-history`; the definition of an outline is still to be filled in.

    Raises:
        DecodeError: it is none.
    """
    name, record = avro.decode_any(SCHEMAS, raw)
    if name == "snapshot":
        return Kept(snapshot_id(raw), raw, record)
    content: bytes = record["outline"]
    return Kept(record["id"], content, avro.decode_as("snapshot", content), is_outline=True)


def outline_of(record: bytes, fields: Mapping[str, Any]) -> bytes:
    """Return the outline of a snapshot record, which decodes to `fields`."""
    segments = [{**segment, "parameters": []} for segment in fields["segments"]]
    outline = avro.encode("snapshot", {**fields, "definition": "", "segments": segments})
    return avro.encode("snapshot_outline", {"id": snapshot_id(record), "outline": outline})


class Outlines:
    """Puts the definitions into the outlines of one topic, read in order from anywhere."""

    def __init__(self) -> None:
        self._definitions: dict[str, tuple[str, str]] = {}
        """Hash and text of each policy's last one."""

    def read(self, raw: bytes) -> Kept | None:
        """Read the next record; None: an outline whose definition stood before all that was read.

        Raises:
            DecodeError: it is none.
        """
        found = kept(raw)
        policy, hash_ = found.fields["policy"], found.fields["definition_hash"]
        if not found.is_outline:
            self._definitions[policy] = hash_, found.fields["definition"]
            return found
        known = self._definitions.get(policy)
        if known is None or known[0] != hash_:
            return None
        fields = {**found.fields, "definition": known[1]}
        return found._replace(content=avro.encode("snapshot", fields), fields=fields)


class Left(NamedTuple):
    """What a policy's budget has left, as of the last snapshot that was kept whole."""

    left_bytes: float
    """Below zero where one that had to be whole took more than there was."""
    whole_at_ms: int
    """When that was, by its publisher's clock."""
    definition_hash: str
    """Of that one."""


def if_whole(known: Left | None, fields: Mapping[str, Any], size_bytes: int, now_ms: int) -> Left | None:
    """Return what is left behind a snapshot of so many bytes, parts and all; None: there is no room for it whole.

    The first of a policy has room, and the first by another definition, what was rolled back to, and one now and then.
    What they take beyond what there is, is paid back before another has.
    """
    known = known or Left(BURST_BYTES, now_ms, "")
    since_s = (now_ms - known.whole_at_ms) / 1000
    left = min(float(BURST_BYTES), known.left_bytes + BYTES_PER_S * max(0.0, since_s))
    is_another = fields["definition_hash"] != known.definition_hash or fields["rollback_of"]
    # A clock that was set back does not say how long ago that was.
    if is_another or not 0 <= since_s < WHOLE_AFTER_S or size_bytes <= left:
        return Left(left - size_bytes, now_ms, fields["definition_hash"])
    return None
