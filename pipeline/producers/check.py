"""Records → what JOIN would make of each: `take` itself says so, on rows of memory. Pure.

All decisions are taken before all outcomes, since in a deployment either may come first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import orjson

from pipeline.codec import avro
from pipeline.codec.wire import decode_event
from pipeline.errors import RecordError
from pipeline.events import Decision, Outcome
from pipeline.join.admission import encode_missing
from pipeline.join.changes import Arrival
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress
from pipeline.join.row import ActionRow
from pipeline.join.step import Limits, decode_arrivals, take
from pipeline.policy.book import PolicyBook

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WHOLE = b"\x00\xc3"
"""What a record in a registry's frame, or one in Avro, begins with: a file of it is one record."""
STREAMS = {"decision": DECISIONS, "outcome": OUTCOMES}
COUNTED = frozenset({"open", "credited", "awaiting-decision", "duplicate", "ticks", "erasures"})
"""What may become of a record that something comes of."""


class Verdict(NamedTuple):
    """What would become of one record."""

    number: int
    """Of the record in its file, from 1."""
    record: str
    """decision, outcome, tick or erasure; what it was taken for where it can't be read."""
    fate: str
    """As JOIN counts it: open, credited, awaiting-decision, duplicate, outside-window, rejected …"""
    reason: str
    """Of a rejected one."""
    detail: str
    """The fault and its place, or what it was accepted as."""
    doubts: tuple[str, ...]
    """What may be meant otherwise."""

    @property
    def counts(self) -> bool:
        """Whether anything comes of it."""
        return self.fate in COUNTED


def records_in(content: bytes) -> list[bytes]:
    """Return the records of a file: one in Avro or a registry's frame, one JSON object, a list of them, or JSON lines.

    >>> records_in(b'[{"a": 1}, {"b": 2}]')
    [b'{"a":1}', b'{"b":2}']
    """
    content = content.removeprefix(BYTE_ORDER_MARK)
    if content[:1] and content[0] in WHOLE:
        return [content]
    try:
        whole = orjson.loads(content)
    except orjson.JSONDecodeError:
        return [line for line in (line.strip() for line in content.splitlines()) if line]
    return [orjson.dumps(one) for one in whole] if isinstance(whole, list) else [content.strip()]


def judge(
    records: Sequence[bytes], book: PolicyBook, now_ms: int, limits: Limits, expected: str | None = None
) -> list[Verdict]:
    """Return what would become of each record, were it read now by a worker that knows these policies.

    Args:
        records: as they would be sent.
        book: the policies that are known.
        now_ms: the broker's timestamp of all of them.
        limits: the worker's.
        expected: `decision` or `outcome`, where a record doesn't say it itself.
    """
    kinds = [expected or _kind_of(raw, limits) for raw in records]
    joining = _Joining(book, now_ms, limits)
    verdicts: dict[int, Verdict] = {}
    for kind in STREAMS:
        for number, raw in enumerate(records):
            if kinds[number] == kind:
                verdicts[number] = joining.take(number, raw, kind)
    return [verdicts[number] for number in range(len(records))]


def _kind_of(raw: bytes, limits: Limits) -> str:
    """Return whether a record is a decision or an outcome: by its schema or its fields."""
    is_outcome = False
    try:
        if raw[:2] == avro.MARKER:
            is_outcome = avro.decode(raw)[0] == "outcome"
        elif raw[:1] == b"\0":
            is_outcome = not _reads(raw, "decision", limits) and _reads(raw, "outcome", limits)
        elif isinstance(fields := orjson.loads(raw), dict):
            is_outcome = "arm" not in fields and bool({"kind", "outcome_id"} & fields.keys())
    except (RecordError, orjson.JSONDecodeError):
        pass  # what it is not, whoever takes it says
    return "outcome" if is_outcome else "decision"


def _reads(raw: bytes, expected: str, limits: Limits) -> bool:
    try:
        decode_event(raw, expected, limits.registry)
    except RecordError:
        return False
    return True


class _Rows:
    """Rows of memory."""

    def __init__(self) -> None:
        self.held: dict[str, ActionRow] = {}

    def load(self, action_ids: Sequence[str]) -> dict[str, ActionRow]:
        return {action_id: self.held[action_id] for action_id in action_ids if action_id in self.held}

    def due(self, until_ms: int, limit: int) -> list[tuple[int, str]]:
        del until_ms, limit
        return []


class _Joining:
    """A partition that has read nothing else."""

    def __init__(self, book: PolicyBook, now_ms: int, limits: Limits) -> None:
        self._book, self._now_ms, self._limits = book, now_ms, limits
        self._rows, self._progress = _Rows(), Progress()

    def take(self, number: int, raw: bytes, kind: str) -> Verdict:
        stream = STREAMS[kind]
        offset = self._progress.positions[stream]
        (arrival,) = decode_arrivals(stream, [(offset, self._now_ms, None, raw)], self._limits.registry)
        before = Counter(self._progress.counts)
        changes = take(stream, [arrival], self._progress, self._rows, self._book, self._limits)
        self._rows.held.update({action: row for action, row in changes.rows.items() if row is not None})
        fates = [
            name.partition(".")[2]
            for name, count in self._progress.counts.items()
            if count > before[name] and name.startswith(f"{stream}.") and name != f"{stream}.read"
        ]
        fate = fates[0] if fates else "passed over"
        event = arrival.event
        record = kind if isinstance(event, RecordError) else type(event).__name__.lower()
        if changes.refusals:
            error = changes.refusals[0].error
            return Verdict(number + 1, record, "rejected", error.reason, error.detail, ())
        return Verdict(number + 1, record, fate, "", self._in_words(arrival, fate), tuple(self._doubts(arrival)))

    def _in_words(self, arrival: Arrival, fate: str) -> str:
        event = arrival.event
        if isinstance(event, Decision):
            return f"{event.policy}, generation {event.generation}, segment {event.segment}, arm {event.arm}"
        if not isinstance(event, Outcome):
            return ""
        row = self._rows.held.get(event.action_id)
        what = f"{event.kind} of {event.value:g} for {event.action_id}"
        if fate == "credited" and row is not None:
            return f"{what}: credited to {row.policy}, segment {row.segment}, arm {row.arm}"
        return what

    def _doubts(self, arrival: Arrival) -> Iterator[str]:
        """Yield what may be meant otherwise, though nothing is wrong with the record by itself."""
        event = arrival.event
        if isinstance(event, Decision):
            definition = self._book.find(event.policy, event.generation)
            expires_ms = definition.expires_for(event.decided_at_ms) if definition else self._now_ms
            if expires_ms < self._now_ms:
                yield (
                    f"decided {(self._now_ms - event.decided_at_ms) / 1_000:,.0f} s ago, so its window and grace are "
                    "over: beside newer decisions it is refused as too-late; old ones go by `pipeline backfill`"
                )
            shown = self._rows.held.get(event.action_id)
            if definition is not None and shown is not None and shown.undecodable:
                (vector,) = encode_missing([(event, definition)])
                why = str(vector) if isinstance(vector, RecordError) else shown.undecodable
                yield f"its context gives no vector, so it is reported and not learned from: {why}"
        row = self._rows.held.get(event.action_id) if isinstance(event, Outcome) else None
        if isinstance(event, Outcome) and (row is None or not row.has_decision):
            refusals = [definition.reward.refusal(event.kind, event.value) for definition in self._book]
            if refusals and all(refusals):
                first = next(refusal for refusal in refusals if refusal is not None)
                yield f"no policy would count it, whatever its decision: {first.reason}: {first.detail}"
