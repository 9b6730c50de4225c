"""Dead letters: what was refused, which of it to send again, and in what order. Pure.

A letter is named by its source, `topic/partition/offset`: JOIN may write it twice (a redelivery), and it is one. That
it was sent back is said by a record of its own, a mark, behind it in the same partition of `dead-letters`: retention
removes a partition from its head, so a mark outlives its letter, and no other topic has to be made and kept in step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from pipeline.codec import avro
from pipeline.codec.unreadable import UNREADABLE, Unreadable
from pipeline.errors import DecodeError, RecordError
from pipeline.join.progress import DECISIONS, OUTCOMES

SHOWN_BYTES = 256
"""How much is shown of what can't be decoded."""
# An outcome waits for its decision, not the other way round.
SEND_ORDER = (DECISIONS, OUTCOMES)


class Source(NamedTuple):
    """Where a record was read."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Give the name that commands take.

        >>> str(Source("decisions", 3, 17))
        'decisions/3/17'
        """
        return f"{self.topic}/{self.partition}/{self.offset}"


class DeadLetter(NamedTuple):
    """A record that was refused, and what became of it."""

    source: Source
    """Where it was read."""
    reason: str
    """One of a closed set of words."""
    detail: str
    """What was seen, what is accepted, what to do."""
    record_timestamp_ms: int
    """The broker's timestamp of the record; 0 where it was not kept, as of outcomes that waited for a decision."""
    record_key: bytes | None
    """The record's key; None where it had none, or it was not kept."""
    raw: bytes
    """The record's bytes, or their beginning."""
    letter_partition: int
    """Partition of `dead-letters` that it lies in."""
    refused_at_ms: int
    """Timestamp of the letter itself."""
    replayed_at_ms: int | None = None
    """When it was last sent back."""
    raw_bytes: int | None = None
    """How many the record's bytes are; None: `raw` is whole, or nobody could read them."""
    raw_sha256: str = ""
    """Of the record's bytes, where `raw` is their beginning."""
    record_key_bytes: int | None = None
    """How long the record's key is; None: it had none, or `record_key` is whole."""

    @property
    def is_cut(self) -> bool:
        """Whether the record is not whole in here: only its own topic may still have it."""
        return (
            self.reason == UNREADABLE
            or len(self.raw) < (self.raw_bytes or 0)
            or len(self.record_key or b"") < (self.record_key_bytes or 0)
        )

    @property
    def at_ms(self) -> int:
        """When the record came, or where that isn't known, when it was refused."""
        return self.record_timestamp_ms or self.refused_at_ms


class Gathered(NamedTuple):
    """What `dead-letters` holds."""

    letters: Sequence[DeadLetter]
    """Each once, oldest first."""
    unreadable: int
    """Records that this release can't read."""


class Choice(NamedTuple):
    """Which letters; None does not choose."""

    reason: str | None = None
    source: str | None = None
    """Topic."""
    since_ms: int | None = None
    """From here on."""
    until_ms: int | None = None
    """Up to and without here."""
    last: int | None = None
    """So many of the newest."""


class Plan(NamedTuple):
    """What a replay does with the letters chosen."""

    to_send: Sequence[DeadLetter]
    """Decisions before outcomes, each by source."""
    already_replayed: Sequence[DeadLetter]
    """Passed over."""
    unsendable: Sequence[DeadLetter]
    """Passed over: without bytes, or of a topic that is no source."""


class Described(NamedTuple):
    """A record's bytes for a reader."""

    encoding: str
    """json, `avro NAME` or hex."""
    content: Any
    """A JSON value, bytes within it as hex; of undecodable bytes the first, as hex."""


def gather(records: Iterable[tuple[int, int, bytes | None]]) -> Gathered:
    """Read (partition, timestamp_ms, value) records of `dead-letters`, in offset order within a partition."""
    letters: dict[Source, DeadLetter] = {}
    replayed: dict[Source, int] = {}
    unreadable = 0
    for partition, timestamp_ms, value in records:
        name, fields = _decoded(value)
        if name == "dead_letter":
            letter = _letter(fields, partition, timestamp_ms)
            letters[letter.source] = letter
        elif name == "dead_letter_replayed":
            source = _source(fields)
            replayed[source] = max(fields["replayed_at_ms"], replayed.get(source, 0))
        else:
            unreadable += 1
    marked = [letter._replace(replayed_at_ms=replayed.get(source)) for source, letter in letters.items()]
    return Gathered(sorted(marked, key=lambda letter: (letter.at_ms, letter.source)), unreadable)


def choose(letters: Iterable[DeadLetter], choice: Choice) -> list[DeadLetter]:
    """Return the letters that are meant, in order."""
    chosen = [letter for letter in letters if _is_meant(letter, choice)]
    return chosen if choice.last is None else chosen[-choice.last :]


def plan_replay(letters: Sequence[DeadLetter], *, again: bool) -> Plan:
    """Sort letters by what a replay does with them; `again` sends also those that were sent before."""
    unsendable = [letter for letter in letters if not _is_sendable(letter)]
    sendable = [letter for letter in letters if _is_sendable(letter)]
    already = [letter for letter in sendable if letter.replayed_at_ms is not None and not again]
    to_send = [letter for letter in sendable if again or letter.replayed_at_ms is None]
    to_send.sort(key=lambda letter: (SEND_ORDER.index(letter.source.topic), letter.source))
    return Plan(to_send, already, unsendable)


def restored(letter: DeadLetter, key: bytes | None, value: bytes | None) -> DeadLetter:
    """Return a cut letter made whole by the record that its topic has at its offset.

    Raises:
        DecodeError: it is another record, or still unreadable.
    """
    if isinstance(value, Unreadable):
        raise value.error
    raw = value or b""
    seen, wanted = len(raw), letter.raw_bytes
    is_same = wanted is None or (seen == wanted and raw.startswith(letter.raw))
    if not is_same or (letter.raw_sha256 and hashlib.sha256(raw).hexdigest() != letter.raw_sha256):
        raise DecodeError(
            "unexpected-record", f"another record of {seen} bytes is there now, the letter's had {wanted}"
        )
    return letter._replace(raw=raw, record_key=key)


def _is_sendable(letter: DeadLetter) -> bool:
    return bool(letter.raw or letter.is_cut) and letter.source.topic in SEND_ORDER


def key_for(letter: DeadLetter) -> bytes:
    """Return the key to send a letter with: its record's, or the action_id that it names, or none."""
    if letter.record_key is not None:
        return letter.record_key
    content = describe(letter.raw).content
    action_id = content.get("action_id") if isinstance(content, dict) else None
    return action_id.encode(errors="replace") if isinstance(action_id, str) else b""


def mark_key(source: Source) -> bytes:
    """Return the key of the record that says a letter was sent back.

    >>> mark_key(Source("decisions", 3, 17))
    b'replayed/decisions/3/17'
    """
    return f"replayed/{source}".encode()


def mark_value(source: Source, replayed_at_ms: int) -> bytes:
    """Return the record that says a letter was sent back."""
    return avro.encode(
        "dead_letter_replayed",
        {
            "source_topic": source.topic,
            "source_partition": source.partition,
            "source_offset": source.offset,
            "replayed_at_ms": replayed_at_ms,
        },
    )


def describe(raw: bytes) -> Described:
    r"""Decode a record's bytes for a reader, as far as they can be.

    >>> describe(b'{"kind": "click"}')
    Described(encoding='json', content={'kind': 'click'})
    >>> describe(b"\x00\x01\xff")
    Described(encoding='hex', content='0001ff')
    """
    name, fields = _decoded(raw)
    if name:
        return Described(f"avro {name}", _plain(fields))
    try:
        return Described("json", orjson.loads(raw))
    except orjson.JSONDecodeError:
        return Described("hex", raw[:SHOWN_BYTES].hex())


def _decoded(value: bytes | None) -> tuple[str, dict[str, Any]]:
    """Decode Avro; the name is empty where the bytes are something else."""
    if value is None or value[: len(avro.MARKER)] != avro.MARKER:
        return "", {}
    try:
        return avro.decode(value)
    except RecordError:
        return "", {}


def _letter(fields: dict[str, Any], partition: int, timestamp_ms: int) -> DeadLetter:
    return DeadLetter(
        source=_source(fields),
        reason=fields["reason"],
        detail=fields["detail"],
        record_timestamp_ms=fields["record_timestamp_ms"],
        record_key=fields["record_key"],
        raw=fields["raw"],
        letter_partition=partition,
        refused_at_ms=timestamp_ms,
        raw_bytes=fields["raw_bytes"],
        raw_sha256=fields["raw_sha256"],
        record_key_bytes=fields["record_key_bytes"],
    )


def _source(fields: dict[str, Any]) -> Source:
    return Source(fields["source_topic"], fields["source_partition"], fields["source_offset"])


def _is_meant(letter: DeadLetter, choice: Choice) -> bool:
    return (
        choice.reason in (None, letter.reason)
        and choice.source in (None, letter.source.topic)
        and (choice.since_ms is None or letter.at_ms >= choice.since_ms)
        and (choice.until_ms is None or letter.at_ms < choice.until_ms)
    )


def _plain(value: Any) -> Any:
    """Turn a decoded record into a JSON value."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value
