"""PUBLISH with snapshots of several parts: a policy of six arms in two segments, two rows a part, so six parts."""

from __future__ import annotations

import itertools
from collections import Counter
from types import SimpleNamespace

import pytest

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.policy.directive import Directive
from pipeline.publish import agent as publish_agent
from pipeline.publish import outline, sending
from pipeline.publish import parts as publish_parts
from pipeline.publish.agent import PublishAgent
from pipeline.publish.parts import part_names, part_of
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from tests.doubles import Crashed, KnownPolicies, MemoryBroker, MemoryTable
from tests.harness.published import Published, published_in
from tests.samples import define, plain_policy

ARMS = "abcdef"
ROWS = 12
PARTS = 6
HOME = topics.partition_for("homepage", 4)
SECOND_MS = 1_000


class Bench:
    """A PUBLISH agent, its table, a clock, and what was learned of each arm of segment `new`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker = MemoryBroker()
        self.table = MemoryTable(self.broker, "changelog", None)
        self.policies = KnownPolicies(
            define(plain_policy(publish={"interval": "1s"}, arms=[{"name": arm} for arm in ARMS]))
        )
        self.now_ms = 1_000_000_000
        self.length = 0
        clock = SimpleNamespace(monotonic=lambda: self.now_ms / 1000, time=lambda: self.now_ms / 1000)
        monkeypatch.setattr(publish_agent, "time", clock)
        monkeypatch.setattr(sending, "time", clock)
        # Two numbers of 8 bytes and 24 beside them a row: 40 bytes, two of them a part.
        monkeypatch.setattr(publish_parts, "PARTED_FROM_BYTES", 0)
        monkeypatch.setattr(publish_parts, "PART_BYTES", 80)
        monkeypatch.setattr(sending, "GROUP_BYTES", 200)
        self.restart()

    def restart(self) -> None:
        self.agent = PublishAgent(self.table, self.broker, self.policies)

    async def learn(self, **counts: int) -> None:
        """Let so many decisions be known of some arms, an interval pass, and what is due be published."""
        offset = self.length + 1
        values = []
        for arm, n in counts.items():
            key = RowKey("homepage", 1, "new", arm, 0)
            where = {"source_partition": 0, "ledger_offset": offset, "dimension": 0}
            sums = n.to_bytes(8, "little") + bytes(16)
            values.append(avro.encode("statistics", {**key._asdict(), **where, "sums": sums}))
        mark = {"policy": "homepage", "generation": 1, "source_partition": 0}
        values.append(avro.encode("statistics_mark", {**mark, "ledger_offset": offset, "event_time_ms": 5}))
        records = [SimpleNamespace(offset=self.length + i, value=value) for i, value in enumerate(values)]
        self.length += len(values)
        await self.agent.handle(Batch(topics.STATISTICS, HOME, records[0].offset, records, self.length))
        await self.publish()

    async def publish(self) -> None:
        self.now_ms += SECOND_MS
        for number in range(4):
            await self.agent.publish_due(number)

    async def crash_at(self, side: int) -> bool:
        """Publish, and be killed at that side of a delivery, counted from 0; return whether it came to that."""
        sides = itertools.count()

        def kill(_: str) -> None:
            if next(sides) == side:
                raise Crashed

        self.broker.interrupt = kill
        try:
            await self.publish()
        except Crashed:
            return True
        finally:
            self.broker.interrupt = lambda _: None
        return False

    def log(self, topic: str) -> list[SimpleNamespace]:
        return self.broker.logs[topic, HOME]

    def parts_sent(self, topic: str) -> Counter[str]:
        sent = (part_of(record.key) for record in self.log(topic) if record.value is not None)
        return Counter(part[1] for part in sent if part)

    def published(self, topic: str = topics.SNAPSHOT_HISTORY) -> list[Published]:
        """Every snapshot of a topic, put together from the parts that stand before it there: none may be missing."""
        return published_in(self.log(topic))

    def kept(self) -> set[str]:
        """What compaction leaves of the parts in `snapshots`."""
        last = {record.key: record.value for record in self.log(topics.SNAPSHOTS)}
        return {part[1] for key, value in last.items() if value is not None and (part := part_of(key))}

    def counts(self) -> list[dict[str, int]]:
        """What each snapshot that is whole counts of each arm in segment `new`, without zeros."""
        found = (one.fields["segments"][0] for one in self.published() if not one.is_outline)
        return [{arm: n for arm, n in zip(one["arms"], one["counts"], strict=True) if n} for one in found]

    def is_tidy(self) -> bool:
        """Whether topic and changelog hold just the parts of the last version."""
        last = [record.value for record in self.log(topics.SNAPSHOTS) if not part_of(record.key)][-1]
        rows = {part[1] for key, _ in self.table.partition(HOME).scan(b"o") if (part := part_of(key[1:]))}
        return self.kept() == rows == set(part_names(avro.decode_as("snapshot", last)))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


async def test_the_parts_stand_before_the_snapshot_in_both_topics(bench):
    await bench.learn(a=3)
    assert bench.counts() == [{"a": 3}]
    assert len(bench.published(topics.SNAPSHOTS)) == 1
    assert bench.parts_sent(topics.SNAPSHOTS).total() == bench.parts_sent(topics.SNAPSHOT_HISTORY).total() == PARTS


async def test_only_parts_that_have_changed_are_sent_again(bench):
    await bench.learn(a=3)
    await bench.learn(a=4, b=1)  # in one part
    await bench.learn(a=5, f=1)  # in two
    assert bench.counts() == [{"a": 3}, {"a": 4, "b": 1}, {"a": 5, "b": 1, "f": 1}]
    for topic in (topics.SNAPSHOTS, topics.SNAPSHOT_HISTORY):
        assert bench.parts_sent(topic).total() == PARTS + 1 + 2


async def test_what_no_snapshot_names_any_more_is_deleted_after_it(bench):
    await bench.learn(a=3)
    await bench.learn(a=4)
    assert bench.is_tidy()
    assert len(bench.kept()) == PARTS
    assert bench.log(topics.SNAPSHOTS)[-1].value is None
    assert None not in {record.value for record in bench.log(topics.SNAPSHOT_HISTORY)}


async def test_every_step_fits_a_record_batch_however_large_the_snapshot(bench, monkeypatch):
    # 200 bytes are two parts of some 90.
    sizes = []
    deliver = bench.broker.deliver_atomically

    async def measured(topic, partition, rows):
        sizes.append(sum(len(value or b"") for key, value in rows.items() if key[:1] == b"o"))
        return await deliver(topic, partition, rows)

    monkeypatch.setattr(bench.broker, "deliver_atomically", measured)
    await bench.learn(a=3)
    assert 0 < max(sizes) <= 200 < sum(sizes)


@pytest.mark.parametrize("loses_disk", [False, True])
@pytest.mark.parametrize("is_first", [True, False])
async def test_killed_anywhere_no_snapshot_is_torn_and_no_version_used_twice(monkeypatch, is_first, loses_disk):
    reached = True
    for side in itertools.count():
        bench = Bench(monkeypatch)
        if not is_first:
            await bench.learn(a=3)
            bench.now_ms -= SECOND_MS
            await bench.learn(a=4, d=1)
        reached = await bench.crash_at(side)
        if not reached:
            break
        if loses_disk:
            bench.table.lose()
        bench.restart()
        await bench.learn(b=2)
        await bench.learn(b=3)
        last = bench.counts()[-1]
        assert last == ({"b": 3} if is_first else {"a": 4, "b": 3, "d": 1})
        for topic in (topics.SNAPSHOTS, topics.SNAPSHOT_HISTORY):  # torn ones would raise
            ids = dict.fromkeys((one.fields["version"], one.id) for one in bench.published(topic))
            assert [version for version, _ in ids] == list(range(1, len(ids) + 1))
        assert bench.is_tidy()
    assert side > 10  # sides of deliveries: parts in two steps, the snapshot, both topics, what is deleted


async def test_a_worker_that_takes_over_sends_no_part_that_is_known_to_be_sent(bench):
    await bench.learn(a=3)
    bench.restart()
    await bench.publish()
    # As ever, the snapshot itself is sent again, and a new one is made of what may have been learned meanwhile.
    assert [one.fields["version"] for one in bench.published()] == [1, 1, 2]
    assert bench.parts_sent(topics.SNAPSHOTS).total() == PARTS
    await bench.learn(a=4)
    assert bench.parts_sent(topics.SNAPSHOTS).total() == PARTS + 1


async def test_a_restart_sends_the_history_the_parts_that_have_changed_or_none_without_room(bench, monkeypatch):
    await bench.learn(a=3)
    bench.restart()
    await bench.learn(a=4)
    assert bench.parts_sent(topics.SNAPSHOT_HISTORY).total() == PARTS + 1
    monkeypatch.setattr(outline, "BURST_BYTES", 0)
    bench.restart()
    await bench.learn(a=5)
    assert bench.parts_sent(topics.SNAPSHOT_HISTORY).total() == PARTS + 1
    assert bench.parts_sent(topics.SNAPSHOTS).total() == PARTS + 2


async def test_parts_that_outlines_left_out_of_the_history_come_with_the_next_whole_snapshot(bench, monkeypatch):
    await bench.learn(a=3)
    with monkeypatch.context() as nothing_left:
        nothing_left.setattr(outline, "BURST_BYTES", 0)
        await bench.learn(a=4)
        await bench.learn(a=5, f=1)
        await bench.learn(a=6)
    seen, live = bench.published(), bench.published(topics.SNAPSHOTS)
    assert [one.is_outline for one in seen] == [False, True, True, True]
    assert [one.id for one in seen] == [one.id for one in live]
    assert part_names(seen[-1].fields) == part_names(live[-1].fields)
    assert bench.parts_sent(topics.SNAPSHOT_HISTORY).total() == PARTS
    await bench.learn(b=1)
    assert bench.counts()[-1] == {"a": 6, "b": 1, "f": 1}
    assert bench.parts_sent(topics.SNAPSHOT_HISTORY).total() == 2 * PARTS


async def test_the_history_gets_all_parts_again_before_the_first_have_aged_out(bench):
    await bench.learn(a=3)
    bench.now_ms += sending.WHOLE_AGAIN_MS
    await bench.learn(a=4)
    assert bench.parts_sent(topics.SNAPSHOT_HISTORY).total() == 2 * PARTS
    assert bench.parts_sent(topics.SNAPSHOTS).total() == PARTS + 1
    await bench.learn(a=5)
    assert bench.parts_sent(topics.SNAPSHOT_HISTORY).total() == 2 * PARTS + 1


async def test_a_rollback_sends_the_parts_that_were_deleted_since(bench):
    await bench.learn(a=3)
    old = bench.log(topics.SNAPSHOT_HISTORY)[-1].value
    parts = {part_of(one.key)[1]: one.value for one in bench.log(topics.SNAPSHOT_HISTORY)[:-1]}
    await bench.learn(a=4, c=1)
    for name, part in parts.items():
        bench.policies.book.put_part("homepage", name, part)
    bench.policies.book.put_directive(Directive("homepage", 1, "rollback", 1, old))
    await bench.publish()
    assert bench.counts() == [{"a": 3}, {"a": 4, "c": 1}, {"a": 3}]
    assert bench.parts_sent(topics.SNAPSHOTS).total() == PARTS + 2 + 2
    assert bench.is_tidy()
    bench.policies.book.put_directive(Directive("homepage", 2, "unpin"))
    await bench.publish()
    assert bench.counts()[-1] == {"a": 4, "c": 1}
    assert bench.is_tidy()


async def test_a_snapshot_that_has_become_small_leaves_no_part_behind(bench, monkeypatch):
    await bench.learn(a=3)
    monkeypatch.setattr(publish_parts, "PARTED_FROM_BYTES", 1 << 20)
    await bench.learn(a=4)
    assert bench.counts() == [{"a": 3}, {"a": 4}]
    assert bench.kept() == set()
    assert bench.is_tidy()
