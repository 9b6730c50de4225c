"""What commands reach a broker by, on `MemoryBroker`: the commands' own code runs on it, several of them at once.

Each time that a command would wait for the broker, others have their turn, as often as dice say: so of two commands
that are given at once any may be in front at any moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from pipeline.errors import FencedError
from pipeline.replay.recounting.cuts import Cut
from pipeline.stream.log.follow import Entry
from pipeline.stream.log.outbox import Record
from pipeline.stream.log.topics import AUDIT
from tests.doubles import MemoryBroker
from tests.replaying import MemoryLog

FOLLOWERS = (
    "pipeline.stream.policies",
    "pipeline.cli.directives",
    "pipeline.cli.snapshots",
    "pipeline.replay.recounting.run",
    "pipeline.replay.proof.parts",
)
LOGS = ("pipeline.replay.recounting.run", "pipeline.replay.recounting.rebuild")
HISTORY = ("pipeline.replay.recounting.run", "pipeline.cli.control")
CLOCKS = ("pipeline.cli.orders", "pipeline.cli.switching", "pipeline.cli.directives", "pipeline.publish.agent")
"""Who numbers by the time, waits for a time, or does something when it has come."""
BEGUN_NS = 1_700_000_000_000_000_000


@contextmanager
def reached_in_memory() -> Iterator[None]:
    """Let a command's broker be a `MemoryBroker` that takes turns."""
    with ExitStack() as patched:
        for module in FOLLOWERS:
            patched.enter_context(patch(f"{module}.TopicFollower", MemoryFollower))
        for module in LOGS:
            patched.enter_context(patch(f"{module}.open_log", open_memory_log))
        for module in HISTORY:
            patched.enter_context(patch(f"{module}.is_loaded", nothing_is_loaded))
        clock = StepClock()
        for module in CLOCKS:
            patched.enter_context(patch(f"{module}.time", clock))
        patched.enter_context(patch("pipeline.audit.record.Outbox", MemoryOutbox))
        # How long a thread takes would say who is in front.
        patched.enter_context(patch("asyncio.to_thread", done_here))
        yield


class StepClock:
    """A millisecond later whenever somebody looks: what is played again is the same, however fast it goes."""

    def __init__(self) -> None:
        self._now_ns = BEGUN_NS

    def time_ns(self) -> int:
        self._now_ns += 1_000_000
        return self._now_ns

    def time(self) -> float:
        return self.time_ns() / 1e9

    def monotonic(self) -> float:
        return self.time()


async def done_here(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


class TurningBroker(MemoryBroker):
    """One that lets others have their turn."""

    def __init__(self, partitions: int, turn: Callable[[], Any]) -> None:
        super().__init__(partitions)
        self.turn = turn
        self.claims: dict[str, int] = {}
        self.fences: dict[tuple[str, str, int], int] = {}


class MemoryFollower:
    """`TopicFollower`."""

    def __init__(self, broker: TurningBroker, topic: str, only: Callable[[int], int] | None = None) -> None:
        self._broker = broker
        self._topic = topic
        numbers = range(broker.partitions) if only is None else [only(broker.partitions)]
        self._positions = dict.fromkeys(numbers, 0)

    async def start(self) -> None:
        await self._broker.turn()

    async def stop(self) -> None:
        """There is nothing to disconnect."""

    async def poll(self, wait_ms: int = 0) -> Sequence[Entry]:
        del wait_ms
        await self._broker.turn()
        found: list[Entry] = []
        for number, position in self._positions.items():
            for one in self._broker.logs[self._topic, number][position:]:
                found.append(Entry(self._topic, number, one.offset, one.timestamp, one.key, one.value))
                self._positions[number] = one.offset + 1
        return found

    async def read_to_end(self) -> Sequence[Entry]:
        return await self.poll()

    async def batches_to_end(
        self, on_progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> AsyncIterator[Sequence[Entry]]:
        del on_progress
        if found := await self.poll():
            yield found


class MemoryOutbox:
    """`Outbox`: with an owner, refused where another of that name has fenced."""

    def __init__(self, broker: TurningBroker, owner: str | None = None) -> None:
        self._broker = broker
        self._owner = owner or ""
        self._epoch = 0
        self.client = self

    async def fetch_all_metadata(self) -> Any:
        return SimpleNamespace(topics=lambda: {AUDIT})

    async def start(self) -> None:
        await self._broker.turn()
        if self._owner:
            self._epoch = self._broker.claims[self._owner] = self._broker.claims.get(self._owner, 0) + 1

    async def stop(self) -> None:
        """There is nothing to disconnect."""

    async def partition_count(self, topic: str) -> int:
        del topic
        return self._broker.partitions

    async def fence(self, topic: str, partition: int) -> None:
        await self._broker.turn()
        if self._owner and self._broker.claims[self._owner] != self._epoch:
            raise FencedError(self._owner)
        self._broker.fences[self._owner, topic, partition] = self._epoch

    async def deliver(self, records: Iterable[Record]) -> None:
        for record in records:
            await self._append(record.topic, record.partition, {record.key: record.value})

    async def deliver_atomically(self, topic: str, partition: int, rows: Mapping[bytes, bytes | None]) -> int:
        return await self._append(topic, partition, rows)

    async def _append(self, topic: str, partition: int, rows: Mapping[bytes, bytes | None]) -> int:
        await self._broker.turn()
        if self._broker.fences.get((self._owner, topic, partition), 0) > self._epoch:
            raise FencedError(self._owner)
        offsets = [self._broker.append(topic, partition, key, value) for key, value in rows.items()]
        await self._broker.turn()
        return offsets[-1]


class ReplayLog(MemoryLog):
    """The topics of a replay, with their ends."""

    def __init__(self, broker: TurningBroker, topics: Sequence[str]) -> None:
        super().__init__(broker, largest=50)
        self._turning, self._topics = broker, topics
        self.numbers = list(range(broker.partitions))

    async def begin(self) -> Cut:
        return {topic: dict.fromkeys(self.numbers, 0) for topic in self._topics}

    async def end(self) -> Cut:
        await self._turning.turn()
        logs = self._turning.logs
        return {topic: {number: len(logs[topic, number]) for number in self.numbers} for topic in self._topics}


@asynccontextmanager
async def open_memory_log(broker: TurningBroker, topics: Sequence[str]) -> AsyncIterator[ReplayLog]:
    yield ReplayLog(broker, topics)


async def nothing_is_loaded(broker: TurningBroker, policy: str) -> bool:
    del broker, policy
    return False
