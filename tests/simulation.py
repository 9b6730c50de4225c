"""The pure cores of JOIN, LEARN and PUBLISH over in-memory stores, in the agents' order of durable steps.

A step first emits (the ledger, the statistics), then makes its state durable as bytes. A crash comes between the
two, after any number of emitted records: they stay, the state goes back to the bytes, and whatever is read next
need not be what was read before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.codec import avro
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress, imbalance, progress_from_bytes
from pipeline.join.step import Changes, Limits, Refusal, advance, decode_arrivals, take
from pipeline.learn.ledger import fold_ledger, ledger_record, merge_deltas
from pipeline.learn.memory import (
    FoldState,
    RowKey,
    counted_from_bytes,
    fold_state_from_bytes,
    statistics_from_bytes,
    statistics_to_bytes,
)
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.book import PolicyBook
from pipeline.publish.partials import Mark, PartialKey
from tests.doubles import MemoryActions

STREAMS = (DECISIONS, OUTCOMES)


Topic = list[tuple[int, bytes]]
"""(arrived_ms, raw) by offset."""


class JoinSimulation:
    """JOIN on one partition."""

    def __init__(self, topics: dict[str, Topic], book: PolicyBook, limits: Limits, step_rows: int) -> None:
        self.topics = topics
        self.book = book
        self.limits = limits
        self.step_rows = step_rows
        self.actions = MemoryActions()
        self.ledger: list[bytes] = []
        self.refusals: list[Refusal] = []
        self.progress = Progress()
        self._durable = self.progress.to_bytes()

    def read(self, stream: str, count: int, *, back: int = 0, now_ms: int, crash: int | None = None) -> None:
        """Take a batch that begins `back` records before the position, then let time pass.

        Args:
            now_ms: records that arrive later are not there yet.
            crash: end after this many emitted records of the step, and begin again from what is durable.
        """
        if not self._keep_promise(crash):
            return
        position = self.progress.positions[stream]
        start, stop = max(0, position - back), min(self._end(stream, now_ms), position + count)
        sent = self.topics[stream]
        arrivals = decode_arrivals(
            stream, [(o, sent[o][0], b"key", sent[o][1]) for o in range(start, stop)], self.limits.registry
        )
        changes = take(stream, arrivals, self.progress, self.actions, self.book, self.limits)
        self.progress.promise(self._streams_at_end(now_ms))
        if self._make_durable(changes, crash):
            self._let_time_pass(now_ms, crash)

    def read_all(self, now_ms: int) -> None:
        for stream in STREAMS:
            self.read(stream, len(self.topics[stream]), now_ms=now_ms)
        # The stream that was read first has waited for the other.
        self.read(DECISIONS, 0, now_ms=now_ms)

    @property
    def durable(self) -> Progress:
        return progress_from_bytes(self._durable)

    def restart(self) -> None:
        self.progress = progress_from_bytes(self._durable)

    def _end(self, stream: str, now_ms: int) -> int:
        return sum(arrived_ms <= now_ms for arrived_ms, _ in self.topics[stream])

    def _streams_at_end(self, now_ms: int) -> frozenset[str]:
        return frozenset(s for s in STREAMS if self.progress.positions[s] >= self._end(s, now_ms))

    def _let_time_pass(self, now_ms: int, crash: int | None) -> None:
        at_end = self._streams_at_end(now_ms)
        if self.progress.next_event_time_ms(at_end) > self.progress.promised_ms:
            self.progress.promise(at_end)
            if not self._make_durable(Changes(), crash):
                return
        self._keep_promise(crash)

    def _keep_promise(self, crash: int | None) -> bool:
        while (changes := advance(self.progress, frozenset(), self.actions, self.book, self.step_rows)) is not None:
            if (changes.rows or changes.gone_due) and not self._make_durable(changes, crash):
                return False
        return True

    def _make_durable(self, changes: Changes, crash: int | None) -> bool:
        emitted = [avro.encode("reward", reward.fields()) for reward in changes.rewards]
        if crash is not None and crash <= len(emitted):
            self.ledger += emitted[:crash]
            self.restart()
            return False
        self.ledger += emitted
        self.refusals += changes.refusals
        self.actions.apply(changes)
        self._durable = self.progress.to_bytes()
        self.check_conservation()
        return True

    def check_conservation(self) -> None:
        """Law 5, and that the counts of what is held are those of the rows."""
        counts = self.progress.counts
        for stream in STREAMS:
            assert imbalance(counts, stream) == 0, counts
            # A simulated topic has no gaps: each record below the position was read, and once.
            assert counts[f"{stream}.read"] == self.progress.positions[stream]
        rows = self.actions.rows()
        assert counts["decisions.open"] == sum(row.has_decision and not row.is_settled for row in rows)
        assert counts["outcomes.awaiting-decision"] == sum(len(row.awaiting) for row in rows)


class Emitted(NamedTuple):
    """A row of statistics, or a mark behind the rows of its step."""

    key: PartialKey | None
    ledger_offset: int
    statistics: Statistics | None
    mark: Mark | None


class LearnSimulation:
    """LEARN on one partition of the ledger, of one policy generation."""

    def __init__(self, ledger: list[bytes], source: int, *, forgets: bool) -> None:
        self.ledger = ledger
        self.source = source
        self.forgets = forgets
        self.emitted: list[Emitted] = []
        self.state = FoldState()
        self._durable = self.state.to_bytes()
        self.counted: dict[str, bytes] = {}
        """What each action counts for, as stored."""
        self._statistics: dict[RowKey, bytes] = {}

    def fold(self, count: int, *, back: int = 0, crash: int | None = None) -> None:
        """Fold a batch that begins `back` records before the position; `crash` as in JOIN."""
        position = self.state.position
        batch = range(max(0, position - back), min(len(self.ledger), position + count))
        records = [ledger_record(offset, avro.decode_as("reward", self.ledger[offset])) for offset in batch]
        known = {
            r.action_id: counted_from_bytes(self.counted[r.action_id]) for r in records if r.action_id in self.counted
        }
        result = fold_ledger(records, known, self.state)
        rows = {key: statistics_from_bytes(self._statistics[key]) for key in result.deltas if key in self._statistics}
        merge_deltas(rows, result.deltas.items())
        outputs = self._outputs(rows)
        if crash is not None and crash <= len(outputs):
            # A step's rows and mark of one policy are one record batch: all of them, or none.
            self.emitted += outputs if crash else []
            self.state = fold_state_from_bytes(self._durable)
            return
        self.emitted += outputs
        self._forget()
        self.counted |= {action_id: counted.to_bytes() for action_id, counted in result.counted.items()}
        self._statistics |= {key: statistics_to_bytes(row) for key, row in rows.items()}
        self._durable = self.state.to_bytes()

    def sums(self) -> dict[RowKey, Statistics]:
        return {key: statistics_from_bytes(stored) for key, stored in self._statistics.items()}

    def _forget(self) -> None:
        if self.forgets:
            reached_ms = self.state.watermark_ms
            self.counted = {
                action_id: stored
                for action_id, stored in self.counted.items()
                if counted_from_bytes(stored).expires_at_ms >= reached_ms
            }

    def _outputs(self, rows: dict[RowKey, Statistics]) -> Sequence[Emitted]:
        if not rows:
            return []
        position = self.state.position
        mark = Emitted(None, position, None, Mark(position, self.state.watermark_ms))
        return [*(Emitted(PartialKey(key, self.source), position, row, None) for key, row in rows.items()), mark]
