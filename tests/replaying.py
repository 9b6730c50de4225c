"""A replay of one partition on dictionaries and lists: the log of `MemoryBroker`, rows that may crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.replay.recounting.cuts import Cut, of_partition
from pipeline.replay.recounting.log import Step
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.rebuild import recount_partition
from pipeline.replay.recounting.recount import Recount, open_recount
from pipeline.replay.recounting.rows import sums_of
from pipeline.stream.state.tables import due_key
from tests.doubles import MemoryBroker, MemoryRows


class ReplayMemory:
    """Rows of a replay; `interrupt` is called before and after each write."""

    def __init__(self) -> None:
        self.rows = MemoryRows(0, "scratch")
        self.interrupt: Callable[[], None] = lambda: None

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.rows.get_many(keys)

    def due(self, until_ms: int, limit: int) -> list[tuple[int, bytes]]:
        return self.rows.due(until_ms, limit)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        return self.rows.scan(prefix)

    def write(self, rows: Mapping[bytes, bytes | None], due: Any) -> None:
        self.interrupt()
        self.rows.write(rows, 0, [(due_key(due_ms, row_id), is_there) for due_ms, row_id, is_there in due])
        self.interrupt()


class MemoryLog:
    """`Log` over a memory broker's topics."""

    def __init__(self, broker: MemoryBroker, largest: int) -> None:
        self._broker = broker
        self._largest = largest
        self._partition = 0

    async def open(self, partition: int, positions: Mapping[str, int]) -> None:
        del positions
        self._partition = partition

    async def read(self, topic: str, position: int, limit: int) -> Step:
        """Give a step that ends early where records are too many, as it does where they are too large."""
        records = self._broker.logs[topic, self._partition][position:limit]
        is_complete = len(records) <= self._largest
        return Step([(r.offset, r.timestamp, r.key, r.value) for r in records[: self._largest]], is_complete)


async def replayed(broker: MemoryBroker, plan: ReplayPlan, cuts: Sequence[Cut], number: int, rows: Any) -> Recount:
    """Replay one partition on rows that may have been begun."""
    recount = open_recount(plan, rows, of_partition(cuts[0], number), number)
    log: Any = MemoryLog(broker, largest=5)
    await recount_partition(log, recount, number, cuts, lambda _number, _positions: None)
    return recount


async def replayed_rows(broker: MemoryBroker, plan: ReplayPlan, cuts: Sequence[Cut]) -> dict[RowKey, Statistics]:
    """Replay every partition; return the sums of all."""
    total: dict[RowKey, Statistics] = {}
    for number in range(broker.partitions):
        recount = await replayed(broker, plan, cuts, number, ReplayMemory())
        for key, row in sums_of(recount.rows).items():
            total[key] = total[key] + row if key in total else row
    return total


def cut_at(broker: MemoryBroker, topics: Sequence[str], time_ms: int) -> Cut:
    """Return how far the broker's topics were at a time."""
    return {
        topic: {
            number: sum(record.timestamp < time_ms for record in broker.logs[topic, number])
            for number in range(broker.partitions)
        }
        for topic in topics
    }
