"""Producers that are none of ours: librdkafka's, with transactions that commit, abort and stay open."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from confluent_kafka import IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

WITHIN_S = 30.0
POLL_S = 0.02
LONGEST = 12
"""Records in a transaction that commits."""
ABORTED, OPENED = 0.3, 0.1
"""How often another transaction aborts, or is opened and stays so for a while, before one commits."""
OPEN_FOR = 6
"""Transactions that commit while one stays open."""


class Sent(NamedTuple):
    """A record with its place."""

    topic: str
    partition: int
    key: bytes
    value: bytes


def sent(topic: str, partition: int, record: Mapping[str, Any]) -> Sent:
    return Sent(topic, partition, record["action_id"].encode(), orjson.dumps(record))


class Transactional:
    """One producer with a transactional id."""

    def __init__(self, broker: str, name: str) -> None:
        self._producer = Producer({"bootstrap.servers": broker, "transactional.id": name, "linger.ms": 0})
        self._producer.init_transactions(WITHIN_S)

    def begin(self, records: Iterable[Sent]) -> None:
        """Open a transaction; its records are in the log, and nothing says yet whether they count."""
        self._producer.begin_transaction()
        for topic, partition, key, value in records:
            self._producer.produce(topic, value, key, partition=partition)
        assert self._producer.flush(WITHIN_S) == 0

    def commit(self) -> None:
        self._producer.commit_transaction(WITHIN_S)

    def abort(self) -> None:
        self._producer.abort_transaction(WITHIN_S)


class Sinks:
    """An exactly-once sink's tasks: one commits, one fails again and again, one is slow."""

    def __init__(self, broker: str, rng: random.Random) -> None:
        self._committing = Transactional(broker, "sink-0")
        self._failing = Transactional(broker, "sink-1")
        self._slow = Transactional(broker, "sink-2")
        self._admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
        self._places: set[tuple[str, int]] = set()
        """Topics and partitions that hold records of theirs."""
        self._rng = rng
        self._open_for = 0
        self.aborted = 0
        """Records that never happened."""

    def send(self, records: Sequence[Sent]) -> None:
        """Commit all of them, in order, in transactions of any length, among others that abort or stay open."""
        self._places |= {(one.topic, one.partition) for one in records}
        start = 0
        while start < len(records):
            some = records[start : start + self._rng.randint(1, LONGEST)]
            start += len(some)
            if self._rng.random() < ABORTED:
                never = [one._replace(value=_never(one.value)) for one in some]
                self._failing.begin(never)
                self._failing.abort()
                self.aborted += len(never)
            if not self._open_for and self._rng.random() < OPENED:
                # Its records are read when it commits, and so is whatever stands behind them.
                self._slow.begin(some)
                self._open_for = OPEN_FOR
                continue
            self._committing.begin(some)
            self._committing.commit()
            self._pass()

    def _pass(self) -> None:
        if self._open_for:
            self._open_for -= 1
            if not self._open_for:
                self._slow.commit()

    def finish(self) -> None:
        """Commit what is open, and wait until all logs say so.

        A commit is answered when the coordinator has decided it; the markers come to the partitions afterwards. Until
        then who reads what is committed is at its end before those records.
        """
        if self._open_for:
            self._open_for = 0
            self._slow.commit()
        deadline_s = time.monotonic() + WITHIN_S
        while self._ends(IsolationLevel.READ_COMMITTED) != self._ends(IsolationLevel.READ_UNCOMMITTED):
            assert time.monotonic() < deadline_s, f"a transaction is still open after {WITHIN_S:.0f} s"
            time.sleep(POLL_S)

    def _ends(self, level: IsolationLevel) -> dict[TopicPartition, int]:
        asked = {TopicPartition(*place): OffsetSpec.latest() for place in self._places}
        told = self._admin.list_offsets(asked, isolation_level=level)
        return {place: one.result(WITHIN_S).offset for place, one in told.items()}


def _never(value: bytes) -> bytes:
    """Return what a failed attempt wrote: an outcome of another name, a decision of an action that nobody saw."""
    record = orjson.loads(value)
    name = "outcome_id" if "outcome_id" in record else "action_id"
    return orjson.dumps(record | {name: f"never-{record[name]}"})
