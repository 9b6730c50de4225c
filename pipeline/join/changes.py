"""What a step of JOIN is given and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pipeline.codec.forwarded import forwarded_in
from pipeline.codec.framed import UNDECLARED, Registry
from pipeline.codec.reward import Reward
from pipeline.codec.wire import MAX_KEY_BYTES, BatchReader
from pipeline.errors import DecodeError, InvalidRecordError, RecordError
from pipeline.events import MAX_CLOCK_SKEW_MS, Event
from pipeline.join.progress import DECISIONS, OUTCOMES
from pipeline.join.row import ActionRow, AwaitingOutcome

# A step's rows become one record batch of the changelog, which the topic bounds at 8 MiB: room for a budget of rows
# and the largest one behind it.
STEP_BYTES = 2 << 20


class Arrival(NamedTuple):
    """A record as it was read, decoded where that was possible."""

    offset: int
    timestamp_ms: int
    """The broker's timestamp of the record."""
    key: bytes | None
    raw: bytes
    event: Event | RecordError
    is_stamped: bool = True
    """Whether the timestamp is the broker's (LogAppendTime); its producer's otherwise, which proves nothing."""
    rewritten: bytes | None = None
    """What is kept of a record in a registry's frame, which says the same without one; None: `raw` itself."""
    is_forwarded: bool = False
    """Whether it was sent on from another partition."""
    source: tuple[int, int] | None = None
    """Partition and offset that it was sent on from; `offset` is that of the copy here."""

    @property
    def kept(self) -> bytes:
        """What is kept of the record if it is accepted."""
        return self.raw if self.rewritten is None else self.rewritten


class Refusal(NamedTuple):
    """A record that can't be used, and why."""

    stream: str
    offset: int
    timestamp_ms: int
    key: bytes | None
    raw: bytes
    error: RecordError
    partition: int | None = None
    """Where it was read, if it was sent on from there; None: here."""


class Forward(NamedTuple):
    """A record to be sent on to the partition of its action."""

    stream: str
    home: int
    key: bytes
    value: bytes


class Limits(NamedTuple):
    """How patient JOIN is, and what it can read."""

    orphan_hold_ms: int = 3_600_000
    """How long, in event time, an outcome waits for a decision that has not been read."""
    max_clock_skew_ms: int = MAX_CLOCK_SKEW_MS
    """How far an event's time may be ahead of the timestamp of its record."""
    registry: Registry = UNDECLARED
    """What is known of the schemas of records in a registry's frame."""
    is_time_bounded: bool = True
    """Whether event time goes by what is waited for and by the broker's clock; replays planned before that go on
    without."""


class ActionRows(Protocol):
    """The rows of one partition."""

    def load(self, action_ids: Sequence[str]) -> dict[str, ActionRow]:
        """Return the rows that exist."""

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        """Return up to `limit` (due_ms, action_id) with due_ms <= until_ms, in order."""


@dataclass(slots=True)
class Changes:
    """What one step did, to be made durable as a unit."""

    rows: dict[str, ActionRow | None] = field(default_factory=dict)
    """Changed rows by action_id; None: dropped."""
    rewards: list[Reward] = field(default_factory=list)
    """Ledger records, in order."""
    refusals: list[Refusal] = field(default_factory=list)
    """For `dead-letters`."""
    forwards: list[Forward] = field(default_factory=list)
    """For other partitions of the stream."""
    gone_due: list[tuple[int, str]] = field(default_factory=list)
    """Entries of the due index to remove: their rows are dropped, or say another time."""
    before_decision: int = 0
    """Outcomes that occurred before what they came of: a clock is wrong, or an id."""
    is_heard: bool = False
    """Whether anything new was learned of a decision, so that time has passed by itself."""


def decode_arrivals(
    stream: str,
    records: Sequence[tuple[int, int, bytes | None, bytes | None]],
    registry: Registry,
    unstamped: Container[int] = (),
) -> list[Arrival]:
    """Decode (offset, timestamp_ms, key, value) records of one stream; what can't be decoded carries its error.

    Args:
        stream: decisions or outcomes.
        records: in offset order.
        registry: what is known of the schemas of records in a registry's frame.
        unstamped: offsets of those whose timestamps are their producers' own.
    """
    reader = BatchReader("decision" if stream == DECISIONS else "outcome", registry)
    read = reader.read
    arrivals = []
    for offset, timestamp_ms, key, value in records:
        event: Event | RecordError
        is_stamped, source = offset not in unstamped, None
        try:
            event = read(value)
        except RecordError as error:
            event = error
            if (sent := forwarded_in(value)) is not None:
                # Its own timestamp, which a forger can't make later than the broker's of this one.
                own_ms = sent.record_timestamp_ms
                timestamp_ms = min(own_ms, timestamp_ms) if is_stamped else own_ms  # noqa: PLW2901
                key, value = sent.record_key, sent.raw  # noqa: PLW2901
                source = sent.source_partition, sent.source_offset
                is_stamped &= sent.is_broker_time
                event = _read(read, value)
        if key is not None and len(key) > MAX_KEY_BYTES:
            event = DecodeError("record-too-large", f"its key has {len(key)} bytes, expected at most {MAX_KEY_BYTES}")
        # An empty value may say why nobody can read it (`codec/unreadable.py`).
        raw = b"" if value is None else value
        arrivals.append(
            Arrival(offset, timestamp_ms, key, raw, event, is_stamped, reader.rewritten, source is not None, source)
        )
        reader.rewritten = None
    return arrivals


def _read(read: Callable[[bytes | None], Event], value: bytes) -> Event | RecordError:
    try:
        return read(value)
    except RecordError as error:
        return error


def refused_outcome(outcome: AwaitingOutcome, error: RecordError) -> Refusal:
    """Return what is refused of an outcome that waited for its decision."""
    return Refusal(OUTCOMES, outcome.offset, outcome.timestamp_ms, outcome.key, outcome.raw, error)


def no_decision(action_id: str, until_ms: int) -> InvalidRecordError:
    """Return why an outcome that waited in vain is refused."""
    return InvalidRecordError(
        "no-decision", f"no decision {action_id!r} was read by event time {until_ms}: was it sent, or is it rejected?"
    )
