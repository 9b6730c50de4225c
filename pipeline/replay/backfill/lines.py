"""Lines of a file → events of a policy's history, each with the record that is sent. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import orjson

from pipeline.codec.framed import UNDECLARED
from pipeline.codec.wire import BatchReader
from pipeline.errors import RecordError
from pipeline.events import Decision, Outcome

Kind = Literal["decision", "outcome"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LATEST_MS = 1 << 62
TOLD = 10
"""Refused lines that are shown."""


class Event(NamedTuple):
    """A decision or an outcome of history."""

    at_ms: int
    kind: Kind
    action_id: str
    outcome_id: str
    """Empty of a decision."""
    raw: bytes
    """The record."""

    @property
    def sort_key(self) -> bytes:
        """By time; of one moment decisions first. Equal keys are one event."""
        number = b"0" if self.kind == "decision" else b"1"
        return self.at_ms.to_bytes(8, "big") + number + f"{self.action_id}\0{self.outcome_id}".encode()


@dataclass(slots=True)
class Refused:
    """Lines that are no event of the policy."""

    counts: Counter[str] = field(default_factory=Counter)
    """By reason."""
    told: list[str] = field(default_factory=list)
    """The first of them, in words."""

    def add(self, where: str, reason: str, detail: str) -> None:
        """Count one."""
        self.counts[reason] += 1
        if len(self.told) < TOLD:
            self.told.append(f"{where}: {reason}: {detail}")


def events_in(lines: Iterable[bytes], source: str, kind: Kind, policy: str, refused: Refused) -> Iterator[Event]:
    """Yield a file's events; what is none is counted, and the next line is read."""
    reader = BatchReader(kind, UNDECLARED)
    for number, line in enumerate(lines, 1):
        raw = line.strip() if number > 1 else line.removeprefix(BYTE_ORDER_MARK).strip()
        if not raw:
            continue
        try:
            if kind == "decision":
                raw = _of_policy(raw, policy)
            found = reader.read(raw)
        except RecordError as error:
            refused.add(f"{source} line {number}", error.reason, error.detail)
            continue
        at_ms = found.decided_at_ms if isinstance(found, Decision) else getattr(found, "occurred_at_ms", 0)
        if not 0 <= at_ms < LATEST_MS:
            refused.add(f"{source} line {number}", "out-of-range", f"event time {at_ms}, expected epoch milliseconds")
        elif isinstance(found, Decision):
            if found.policy != policy:
                refused.add(f"{source} line {number}", "other-policy", f"{found.policy!r}, expected {policy!r}")
                continue
            kept = raw if reader.rewritten is None else reader.rewritten
            reader.rewritten = None
            yield Event(found.decided_at_ms, kind, found.action_id, "", kept)
        elif isinstance(found, Outcome):
            yield Event(found.occurred_at_ms, kind, found.action_id, found.outcome_id, raw)
        else:
            refused.add(f"{source} line {number}", "unexpected-record", f"a {type(found).__name__}, expected a {kind}")


def event_of(raw: bytes | None, kind: Kind, policy: str) -> Event | None:
    """Return the event of a record that was loaded; None: it is none of the policy's."""
    return next(events_in([raw or b""], "", kind, policy, Refused()), None)


def _of_policy(raw: bytes, policy: str) -> bytes:
    """Say whose a decision is where the line does not."""
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw  # which the reader says better
    return raw if not isinstance(fields, dict) or "policy" in fields else orjson.dumps({"policy": policy, **fields})
