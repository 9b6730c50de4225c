"""JOIN and LEARN whole, in CPU time: their agents, RocksDB and the batch builder, but no broker and no fetching.

What a step costs by itself is told by `micro.py`; what is left of the worker's cost is the client and Faust.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import rocksdict
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks.load import Load, policy
from benchmarks.report import Row
from pipeline.join.agent import JoinAgent
from pipeline.join.step import Limits
from pipeline.join.stored_row import due_of
from pipeline.learn.agent import LearnAgent
from pipeline.learn.memory import expires_of
from pipeline.policy.book import PolicyBook
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.outbox import BUILDER_BYTES, Outbox, Outgoing
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.tables import BLOCK_CACHE_BYTES, Database, IndexOf, PartitionRows

FETCHED = {"decisions": 2_400, "outcomes": 816}
"""Records in a batch: about a megabyte of decisions, and the outcomes that came beside them."""


class Fetched(NamedTuple):
    """A record as a fetch brings it."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes
    timestamp_type: int = 1
    """The broker's time."""


class Told:
    """Policies that are known from the start."""

    def __init__(self, dimension: int, more: str) -> None:
        self.book = PolicyBook()
        self.book.put(policy(dimension, more=more))

    async def refresh(self) -> None:
        """There is nothing more to read."""


class Unsent(Outbox):
    """Builds batches and keeps the ledger, where the real one sends them."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self._producer: Any = SimpleNamespace(create_batch=lambda: BatchBuilder(BUILDER_BYTES, 0))
        self._ends: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.ledger: list[tuple[bytes, bytes | None]] = []

    async def partition_count(self, topic: str) -> int:
        """Return one for every topic."""
        del topic
        return 1

    async def deliver_all(self, outgoing: Outgoing) -> None:
        """Build the batches, and keep ledger records for LEARN."""
        self.ledger += outgoing.get(("rewards", 0), ())
        await super().deliver_all(outgoing)

    async def stop(self) -> None:
        """There is nothing to disconnect."""

    async def _send(self, builder: Any, topic: str, partition: int) -> asyncio.Future[Any]:
        builder._build()  # noqa: SLF001  what sending would do first
        acknowledged: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        acknowledged.set_result(SimpleNamespace(offset=self._ends[topic, partition]))
        self._ends[topic, partition] += builder.record_count()
        return acknowledged


class Opens:
    """Opens a new database for the one partition there is."""

    def __init__(self, path: Path, outbox: Outbox, index: IndexOf) -> None:
        self._path = path
        self._outbox = outbox
        self._index = index

    async def open(self, number: int) -> DurablePartition:
        """Return a partition without rows."""
        database = Database(self._path, rocksdict.Cache(BLOCK_CACHE_BYTES))
        return DurablePartition(PartitionRows(database, number, "changelog", self._index), self._outbox)


def measure(dimension: int, encoding: str, repetitions: int, decisions: int = 24_000) -> list[Row]:
    """Measure both stages on a partition without rows."""
    runs = [play(Load(decisions, dimension, encoding, seed)) for seed in range(repetitions)]
    name = f"d={dimension}, {encoding}"
    return [
        Row(f"JOIN whole, {name}", "CPU µs/event", tuple(run.join_us for run in runs)),
        Row(f"LEARN whole, {name}", "CPU µs/event", tuple(run.learn_us for run in runs)),
    ]


class Played(NamedTuple):
    """What a load has taken."""

    join_us: float
    """Of CPU an event."""
    learn_us: float
    records: int
    """Of the ledger."""


def play(load: Load, more: str = "") -> Played:
    """Take a load through both stages; `more` is put behind the policy."""
    return asyncio.run(_play(load, more))


async def _play(load: Load, more: str) -> Played:
    now_ms = int(time.time() * 1000)
    topics: dict[str, list[Fetched]] = {"decisions": [], "outcomes": []}
    for sent in load.records():
        log = topics[sent.topic]
        log.append(Fetched(len(log), now_ms, sent.key, sent.value))
    outbox, told = Unsent(), Told(load.dimension, more)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        join: Any = JoinAgent(Opens(path / "join", outbox, due_of), outbox, told, lambda *_: False, Limits())  # type: ignore[arg-type]
        learn: Any = LearnAgent(Opens(path / "learn", outbox, expires_of), outbox)
        spent_s = {"join": 0.0, "learn": 0.0}
        folded = 0
        gc.collect()
        gc.disable()  # the worker's collector looks rarely
        try:
            for start in range(0, load.decisions, FETCHED["decisions"]):
                part = start // FETCHED["decisions"]
                began_s = time.process_time()
                for topic, count in FETCHED.items():
                    if records := topics[topic][part * count : (part + 1) * count]:
                        await join.handle(Batch(topic, 0, records[0].offset, records, records[-1].offset + 1))
                spent_s["join"] += time.process_time() - began_s
                ledger, outbox.ledger = outbox.ledger, []
                batch = [Fetched(folded + i, now_ms, key, value or b"") for i, (key, value) in enumerate(ledger)]
                folded += len(batch)
                began_s = time.process_time()
                await learn.handle(Batch("rewards", 0, batch[0].offset, batch, folded))
                spent_s["learn"] += time.process_time() - began_s
        finally:
            gc.enable()
        await join.partitions.close_all()
        await learn.partitions.close_all()
    return Played(spent_s["join"] / folded * 1e6, spent_s["learn"] / folded * 1e6, folded)
