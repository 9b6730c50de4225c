"""A PUBLISH agent in memory, and the records that it reads."""

from __future__ import annotations

from types import SimpleNamespace

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.policy.directive import Directive
from pipeline.publish import agent as publish_agent
from pipeline.publish.agent import PublishAgent
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from tests.doubles import KnownPolicies, MemoryBroker, MemoryTable
from tests.samples import define, plain_policy

HOME = topics.partition_for("homepage", 4)


def statistics(n: int, offset: int, source: int = 0, segment: str = "new", generation: int = 1) -> bytes:
    key = RowKey("homepage", generation, segment, "a", 0)
    sums = n.to_bytes(8, "little") + bytes(16)
    where = {"source_partition": source, "ledger_offset": offset, "dimension": 0, "sums": sums}
    return avro.encode("statistics", {**key._asdict(), **where})


def mark(offset: int, source: int = 0, generation: int = 1) -> bytes:
    fields = {"policy": "homepage", "generation": generation, "source_partition": source}
    return avro.encode("statistics_mark", {**fields, "ledger_offset": offset, "event_time_ms": 5})


class Bench:
    """A PUBLISH agent, its table, and a clock."""

    def __init__(self, monkeypatch) -> None:
        self.broker = MemoryBroker()
        self.table = MemoryTable(self.broker, "changelog", None)
        self.policies = KnownPolicies(define(plain_policy(publish={"interval": "1s"})))
        self.now_s = 1_000.0
        self.length = 0
        monkeypatch.setattr(publish_agent, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.restart()

    def restart(self) -> None:
        self.agent = PublishAgent(self.table, self.broker, self.policies, find_published=self.find_published)

    def lose_changelog(self) -> None:
        """Lose all that PUBLISH has stored, and what `statistics` is read to; the topics stay."""
        self.broker.logs.pop(("changelog", HOME), None)
        self.table.lose()
        self.length = 0
        self.restart()

    async def find_published(self, number: int) -> dict[str, bytes]:
        """Find what was published last, as `publish/versions.py` does."""
        return {record.key.decode(): record.value for record in self.broker.logs[topics.SNAPSHOTS, number]}

    async def read(self, *values: bytes | None) -> int:
        """Handle a batch; return where reading would begin again."""
        records = [SimpleNamespace(offset=self.length + i, value=value) for i, value in enumerate(values)]
        self.length += len(values)
        batch = Batch(topics.STATISTICS, HOME, records[0].offset, records, self.length)
        await self.agent.handle(batch)
        return batch.resume_offset

    async def publish(self) -> None:
        for number in range(4):
            await self.agent.publish_due(number)

    async def learn(self, n: int) -> None:
        """Let `n` decisions be known, and an interval pass."""
        await self.read(statistics(n, n), mark(n))
        self.now_s += 1
        await self.publish()

    def order(self, action, version: int = 0) -> None:
        """Give the next directive."""
        before = self.policies.book.directive("homepage")
        content = self.broker.values(topics.SNAPSHOT_HISTORY)[version - 1] if action == "rollback" else b""
        number = 1 if before is None else before.number + 1
        self.policies.book.put_directive(Directive("homepage", number, action, version, content))

    @property
    def history(self) -> list[dict]:
        return [avro.decode_as("snapshot", value) for value in self.broker.values(topics.SNAPSHOT_HISTORY)]

    @property
    def counts(self) -> list[int]:
        """How many decisions of arm `a` in segment `new` each published snapshot knows."""
        return [record["segments"][0]["counts"][0] for record in self.history]
