"""The agents themselves on an in-memory broker, killed at any delivery.

    deliver ledger │ deliver changelog │ write the table │ … │ acknowledge the batch
    ×              ×                   ×                     ×      a kill falls on either side of any delivery

What is left after a kill is the broker's topics, the acknowledged offsets, and the disk or not even that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from pipeline.codec import avro
from pipeline.join.agent import JoinAgent
from pipeline.join.stored_row import due_of
from pipeline.learn.agent import LearnAgent
from pipeline.learn.memory import expires_of
from pipeline.policy.directive import Directive
from pipeline.publish.agent import PublishAgent
from pipeline.replay.erasure.forgetting import Forgetting, decision_of
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from tests.doubles import Crashed, KnownPolicies, MemoryBroker, MemoryTable
from tests.samples import define
from tests.traffic import FOREVER_MS, LIMITS, SUBJECTS, Rolled, Traffic

SOURCES = (topics.DECISIONS, topics.OUTCOMES, topics.REWARDS, topics.STATISTICS)
PUBLISH, ARRIVE, FORGET, DIRECT, TOGETHER = "publish", "arrive", "forget", "direct", "together"
STICK, TAKE, PAY = "stick", "take", "pay"
"""The policy's partition of `statistics` takes nothing; it takes again, what waits first; LEARN pays what it owes."""
DOINGS = (*SOURCES, TOGETHER, PUBLISH, ARRIVE, FORGET, DIRECT, STICK, TAKE, PAY)


ROUNDS = 3
"""Ask, perhaps again with what the ledger says by then, and see that all is erased."""


class Move(NamedTuple):
    """A batch to read, a publishing, records that arrive or a directive; and where the worker is killed, if it is."""

    what: str
    partition: int
    count: int
    kill_at: int | None
    """Number of the delivery's side, counted from 0."""
    loses_disk: bool


@st.composite
def moves(draw: st.DrawFn) -> list[Move]:
    """Draw a plan of a few moves, or a long one."""
    if draw(st.booleans()):
        kill_at = st.one_of(st.none(), st.integers(0, 7))
        move = st.builds(
            Move, st.sampled_from(DOINGS), st.integers(0, 3), st.integers(1, 12), kill_at, loses_disk=st.booleans()
        )
        return draw(st.lists(move, max_size=30))
    dice = Rolled(draw(st.integers(0, 2**32)))
    return [
        Move(
            DOINGS[dice.below(len(DOINGS))],
            dice.below(4),
            1 + dice.below(12),
            dice.below(8) if not dice.below(4) else None,
            loses_disk=bool(dice.below(2)),
        )
        for _ in range(150)
    ]


class Worker:
    """The three agents, the offsets they acknowledged, and their disks."""

    def __init__(self, data: Traffic, partitions: int) -> None:
        self.broker = MemoryBroker(partitions)
        self.policies = KnownPolicies(define(data.policy))
        self.directives: list[Directive] = []
        self.acknowledged: dict[tuple[str, int], int] = {}
        self.tables = {
            "join": MemoryTable(self.broker, "join-changelog", due_of),
            "learn": MemoryTable(self.broker, "learn-changelog", expires_of),
            "publish": MemoryTable(self.broker, "publish-changelog", None),
        }
        self.coming = sorted(
            (arrived_ms, topic, number, raw)
            for number, streams in enumerate(data.topics(partitions))
            for topic, records in streams.items()
            for arrived_ms, raw in records
        )
        """What has not arrived yet, in order; a topic's own order is that of arrival."""
        self.forgettings: dict[str, Forgetting] = {}
        """By subject, of the decisions that had come when it began; an operator asks, and later looks again."""
        self.start()

    def start(self) -> None:
        broker: Any = self.broker
        tables: dict[str, Any] = self.tables
        policies: Any = self.policies
        self.join = JoinAgent(tables["join"], broker, policies, self.is_caught_up, LIMITS)
        self.learn = LearnAgent(tables["learn"], broker, patience_s=0.0)
        self.publish = PublishAgent(tables["publish"], broker, policies)

    def is_caught_up(self, topic: str, partition: int, position: int, since_ms: int) -> bool:
        del since_ms
        return position >= len(self.broker.logs[topic, partition])

    async def play(self, move: Move) -> None:
        self.broker.interrupt = killer(move.kill_at)
        try:
            if move.what == PUBLISH:
                await self.publish_all()
            elif move.what == ARRIVE:
                self.arrive(4 * move.count)
            elif move.what == FORGET:
                self.forget(SUBJECTS[move.count % 2] or "")
            elif move.what == TOGETHER:
                await self.read_together(move.partition % self.broker.partitions, move.count)
            elif move.what == DIRECT:
                self.direct(("rollback", "pin", "unpin")[move.partition % 3], move.count)
            elif move.what in SOURCES:
                await self.read(move.what, move.partition % self.broker.partitions, move.count)
            else:
                await self.owe(move.what)
        except Crashed:
            self.broker.cut_off(takes_first=bool(move.count % 2))
            if move.loses_disk:
                for table in self.tables.values():
                    table.lose()
            self.start()
        finally:
            self.broker.interrupt = killer(None)

    def direct(self, action: Any, back: int = 0) -> None:
        """Give a directive; a rollback is to one of the last `back` versions, where there are any."""
        contents = list(dict.fromkeys(history(self)))[-back:]
        if action == "rollback" and contents:
            version = avro.decode_as("snapshot", contents[0])["version"]
            self.directives.append(Directive("homepage", len(self.directives) + 1, action, version, contents[0]))
        elif action != "rollback":
            self.directives.append(Directive("homepage", len(self.directives) + 1, action))
        for directive in self.directives[-1:]:
            self.policies.book.put_directive(directive)

    def arrive(self, count: int) -> None:
        """Let the next records come into their topics."""
        for arrived_ms, topic, number, raw in self.coming[:count]:
            self.broker.append(topic, number, None, raw, arrived_ms)
        del self.coming[:count]

    def forget(self, subject: str) -> None:
        """Find a subject's decisions, the first time; look into the ledger, and ask for what is not erased."""
        if subject not in self.forgettings:
            self.forgettings[subject] = Forgetting()
            for number in range(self.broker.partitions):
                for record in self.broker.logs[topics.DECISIONS, number]:
                    if decision := decision_of(record.value, subject, {}):
                        self.forgettings[subject].find(number, decision)
        forgetting = self.forgettings[subject]
        for number in forgetting.partitions:
            ledger = self.broker.logs[topics.REWARDS, number][forgetting.position(number) :]
            forgetting.read(number, [(record.offset, record.value) for record in ledger])
        for asked in forgetting.ask():
            self.broker.append(topics.DECISIONS, asked.partition, None, asked.value)

    def next_batch(self, topic: str, partition: int, count: int) -> Batch | None:
        start = self.acknowledged.get((topic, partition), 0)
        records = self.broker.logs[topic, partition][start : start + count]
        return Batch(topic, partition, records[0].offset, records, records[-1].offset + 1) if records else None

    async def read_together(self, partition: int, count: int) -> None:
        """Have JOIN handle a batch of each of its topics at once, where there are."""
        found = [self.next_batch(topic, partition, count) for topic in (topics.OUTCOMES, topics.DECISIONS)]
        if batches := [batch for batch in found if batch is not None]:
            await self.join.handle(*batches)
        for batch in batches:
            self.acknowledged[batch.topic, partition] = batch.resume_offset

    async def read(self, topic: str, partition: int, count: int) -> bool:
        """Read a batch from where the last acknowledged one ended; tell whether there was one."""
        start = self.acknowledged.get((topic, partition), 0)
        batch = self.next_batch(topic, partition, count)
        if batch is None:
            return False
        agent = {topics.REWARDS: self.learn, topics.STATISTICS: self.publish}.get(topic, self.join)
        await agent.handle(batch)
        self.acknowledged[topic, partition] = max(start, batch.resume_offset)
        return batch.resume_offset > start

    async def owe(self, what: str) -> None:
        """Play what happens between LEARN and `statistics`."""
        if what == PAY:
            await self.pay()
        elif what == TAKE:
            self.take_again()
        else:
            self.broker.stuck = {(topics.STATISTICS, topics.partition_for("homepage", self.broker.partitions))}

    def take_again(self) -> None:
        self.broker.stuck = set()
        self.broker.take()

    async def pay(self) -> None:
        for partition in self.learn.partitions:
            await self.learn.pay(partition.rows.partition)

    async def publish_all(self) -> None:
        for partition in self.publish.partitions:
            partition.published_at_s.clear()  # the interval has passed
        for number in range(self.broker.partitions):
            await self.publish.publish_due(number)

    async def finish(self) -> None:
        """Read all, and after a tick the rest; publish."""
        self.arrive(len(self.coming))
        tick = avro.encode("tick", {"event_time_ms": FOREVER_MS})
        for number in range(self.broker.partitions):
            # Outcomes first: their end holds nothing back, where that of decisions has been read.
            for topic in (topics.OUTCOMES, topics.DECISIONS):
                while await self.read(topic, number, 1_000):
                    pass
            self.broker.append(topics.DECISIONS, number, None, tick, FOREVER_MS)
            await self.read(topics.DECISIONS, number, 1)
        for subject, forgetting in self.forgettings.items():
            for _ in range(ROUNDS):
                self.forget(subject)
                await self.read_all(topics.DECISIONS)
            assert not forgetting.remaining
        await self.read_all(topics.REWARDS)
        self.take_again()
        for number in range(self.broker.partitions):
            await self.learn.open(number)
        while any(partition.owing.places for partition in self.learn.partitions):
            await self.pay()
        await self.read_all(topics.STATISTICS)
        self.direct("unpin")
        await self.publish_all()

    async def read_all(self, topic: str) -> None:
        for number in range(self.broker.partitions):
            while await self.read(topic, number, 1_000):
                pass

    @property
    def forgotten(self) -> set[str]:
        """The actions that were found to be forgotten."""
        return {action_id for forgetting in self.forgettings.values() for action_id in forgetting.actions}


def killer(at: int | None) -> Any:
    """Return an interrupt that kills at its `at`-th call."""
    calls = iter(range(1_000_000))

    def interrupt(_: str) -> None:
        if next(calls) == at:
            raise Crashed

    return interrupt


async def loop(data: Traffic, partitions: int, plan: list[Move]) -> Worker:
    worker = Worker(data, partitions)
    if len(plan) % 2:  # a replay: all is there from the start
        worker.arrive(len(worker.coming))
    for move in plan:
        await worker.play(move)
    await worker.finish()
    return worker


def history(worker: Worker) -> list[bytes]:
    return worker.broker.values(topics.SNAPSHOT_HISTORY)
