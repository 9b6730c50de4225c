from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from pipeline.codec import avro
from pipeline.errors import StateError
from pipeline.learn.memory import RowKey
from pipeline.policy.directive import Directive
from pipeline.publish import agent as publish_agent
from pipeline.publish.agent import PublishAgent
from pipeline.publish.partition import VERSION
from pipeline.publish.snapshot import snapshot_id
from pipeline.stream import topics
from pipeline.stream.batch import Batch
from tests.doubles import Crashed, KnownPolicies, MemoryBroker, MemoryTable
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
        self.agent = PublishAgent(self.table, self.broker, self.policies)

    async def read(self, *values: bytes | None) -> int:
        """Handle a batch; return where reading would begin again."""
        records = [SimpleNamespace(offset=self.length + i, value=value) for i, value in enumerate(values)]
        self.length += len(values)
        batch = Batch(topics.STATISTICS, HOME, records, self.length)
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


@pytest.fixture
def bench(monkeypatch) -> Bench:
    return Bench(monkeypatch)


async def test_a_policy_is_published_before_anything_is_learned(bench):
    await bench.publish()
    assert bench.counts == [0]


async def test_a_change_is_published_when_the_interval_has_passed(bench):
    """
    s   0      0.9    1
        ▲ v1   ·      ▲ v2     interval 1 s
    """
    await bench.publish()
    await bench.read(statistics(3, 10), mark(10))
    bench.now_s += 0.9
    await bench.publish()
    assert bench.counts == [0]
    bench.now_s += 0.1
    await bench.publish()
    assert bench.counts == [0, 3]


async def test_nothing_new_is_not_published_again(bench):
    await bench.publish()
    bench.now_s += 100
    await bench.publish()
    await bench.read(statistics(3, 10))  # its mark has not come
    await bench.publish()
    assert bench.counts == [0]


async def test_a_changed_definition_is_published_though_nothing_was_learned(bench):
    await bench.publish()
    bench.policies.book.put(define(plain_policy(publish={"interval": "1s"}, exploration={"floor": 0.1})))
    bench.now_s += 1
    await bench.publish()
    assert [record["version"] for record in bench.history] == [1, 2]


async def test_a_new_generation_starts_anew_beside_the_old(bench):
    await bench.read(statistics(3, 10), mark(10))
    await bench.publish()
    bench.policies.book.put(define(plain_policy(publish={"interval": "1s"}, generation=2)))
    bench.now_s += 1
    await bench.publish()
    await bench.read(statistics(4, 20), mark(20), statistics(1, 20, generation=2), mark(20, generation=2))
    bench.now_s += 1
    await bench.publish()
    assert bench.counts == [3, 0, 1]


async def test_versions_rise_by_one_and_name_their_parent(bench):
    for n in (1, 2, 3):
        await bench.read(statistics(n, n), mark(n))
        bench.now_s += 1
        await bench.publish()
    contents = bench.broker.values(topics.SNAPSHOT_HISTORY)
    assert [record["version"] for record in bench.history] == [1, 2, 3]
    assert [record["parent"] for record in bench.history] == ["", *map(snapshot_id, contents[:2])]


async def test_the_latest_snapshot_and_the_history_are_the_same_bytes_keyed_by_policy(bench):
    await bench.publish()
    (latest,) = bench.broker.logs[topics.SNAPSHOTS, HOME]
    (past,) = bench.broker.logs[topics.SNAPSHOT_HISTORY, HOME]
    assert (latest.key, latest.value) == (b"homepage", past.value)


async def test_who_waits_for_something_to_publish_is_woken_by_what_is_learned(bench):
    await bench.publish()
    waiting = asyncio.create_task(bench.agent.until_due(10_000.0))
    await asyncio.sleep(0)
    await bench.learn(1)
    await waiting
    assert [record["version"] for record in bench.history] == [1, 2]


async def test_what_is_learned_is_due_an_interval_after_the_last_publishing_began(bench):
    await bench.publish()
    assert list(bench.agent._due_s()) == []
    await bench.read(statistics(1, 1), mark(1))
    assert list(bench.agent._due_s()) == [bench.now_s + 1]


async def test_what_is_learned_of_a_pinned_policy_is_not_due_before_it_is_unpinned(bench):
    await bench.publish()
    bench.order("pin")
    await bench.publish()
    await bench.read(statistics(1, 1), mark(1))
    assert list(bench.agent._due_s()) == []
    bench.order("unpin")
    await bench.publish()
    assert bench.history[-1]["version"] == 2


async def test_a_worker_publishes_only_the_policies_of_its_partitions(bench):
    for number in range(4):
        if number != HOME:
            await bench.agent.publish_due(number)
    assert bench.history == []


async def test_rows_without_their_mark_are_read_again_after_a_restart(bench):
    """Offsets: 0 row, 1 mark | 2 row, 3 row of source 1 | 4 mark | 5 mark of source 1."""
    assert await bench.read(statistics(3, 10), mark(10)) == 2
    assert await bench.read(statistics(4, 20), statistics(5, 20, source=1)) == 2  # at the first that waits
    assert await bench.read(mark(20)) == 3  # source 1 still waits
    assert await bench.read(mark(20, source=1)) == 6


async def test_a_tombstone_is_passed_over(bench):
    assert await bench.read(None) == 1


async def test_a_restart_goes_on_with_what_was_known(bench):
    await bench.read(statistics(3, 10), mark(10), statistics(5, 20, source=1), mark(20, source=1))
    await bench.publish()
    bench.restart()
    await bench.read(statistics(4, 30), mark(30))
    bench.now_s += 1
    await bench.publish()
    last = bench.history[-1]
    assert (last["version"], last["segments"][0]["counts"][0]) == (2, 9)
    assert last["ledger_offsets"] == [{"partition": 0, "offset": 30}, {"partition": 1, "offset": 20}]


async def test_a_snapshot_that_was_not_sent_before_the_crash_is_sent_after_it(bench):
    await bench.read(statistics(3, 10), mark(10))

    class Killed(Exception):  # noqa: N818
        """The process ended between the changelog and the sending."""

    deliveries = iter(("before changelog", "after changelog", "before sending"))

    def kill_before_sending(_: str) -> None:
        if next(deliveries) == "before sending":
            raise Killed

    bench.broker.interrupt = kill_before_sending
    with pytest.raises(Killed):
        await bench.publish()
    bench.broker.interrupt = lambda _: None
    bench.restart()
    await bench.read(statistics(4, 20), mark(20))
    await bench.publish()
    assert [(record["version"], record["segments"][0]["counts"][0]) for record in bench.history] == [(1, 3), (2, 4)]


@pytest.mark.parametrize("segment", ["a/b", "x@1", "a/b@2/c"])
async def test_a_segment_with_the_key_s_separators_survives_a_restart(bench, segment):
    """JOIN should refuse it; what is in a topic already must not stop PUBLISH."""
    await bench.read(statistics(3, 10, segment=segment), mark(10))
    bench.restart()
    await bench.publish()
    assert len(bench.history) == 1


def followed(bench) -> list[tuple[int, int, int]]:
    """Version, whose content it is, and the decisions it knows; each once, though a restart sends the last again."""
    versions = [(record["version"], record["rollback_of"]) for record in bench.history]
    return list(dict.fromkeys((*version, count) for version, count in zip(versions, bench.counts, strict=True)))


async def test_a_rollback_publishes_the_old_content_under_a_new_version_at_once(bench):
    """
    s      1    2    3
    n      1    2    3
           ▲ v1 ▲ v2 ▲ v3, rollback to 1: ▲ v4 in the same moment
    """
    for n in (1, 2, 3):
        await bench.learn(n)
    bench.order("rollback", 1)
    await bench.publish()
    assert followed(bench) == [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 1)]
    contents = bench.broker.values(topics.SNAPSHOT_HISTORY)
    first, last = bench.history[0], bench.history[-1]
    assert last["parent"] == snapshot_id(contents[2])
    assert last == first | {"version": 4, "parent": last["parent"], "rollback_of": 1}


async def test_learning_goes_on_beside_a_rollback_and_comes_back_at_once_with_unpin(bench):
    for n in (1, 2):
        await bench.learn(n)
    bench.order("rollback", 1)
    for n in (3, 4):
        await bench.learn(n)
    assert followed(bench)[2:] == [(3, 1, 1)]
    bench.order("unpin")
    await bench.publish()
    assert followed(bench)[3:] == [(4, 0, 4)]
    await bench.learn(5)
    assert followed(bench)[4:] == [(5, 0, 5)]


async def test_a_pin_holds_what_is_published(bench):
    await bench.learn(1)
    bench.order("pin")
    await bench.learn(2)
    bench.restart()
    await bench.learn(3)
    assert followed(bench) == [(1, 0, 1)]
    bench.order("unpin")
    await bench.publish()
    assert followed(bench) == [(1, 0, 1), (2, 0, 3)]


async def test_a_pin_of_a_policy_that_was_never_published_holds_its_first_snapshot(bench):
    bench.order("pin")
    await bench.publish()
    await bench.learn(2)
    assert followed(bench) == [(1, 0, 0)]


async def test_a_directive_is_acted_on_once(bench):
    await bench.learn(1)
    bench.order("rollback", 1)
    for _ in range(3):
        bench.now_s += 1
        await bench.publish()
        bench.restart()
        await bench.publish()
    bench.table.lose()
    bench.restart()
    bench.now_s += 1
    await bench.publish()
    assert {record["version"] for record in bench.history} == {1, 2}


async def test_a_worker_that_has_read_less_of_the_policies_does_not_act_on_an_earlier_directive_again(bench):
    await bench.learn(1)
    bench.order("rollback", 1)
    await bench.publish()
    earlier = bench.policies.book.directive("homepage")
    bench.order("unpin")
    await bench.publish()
    bench.policies = KnownPolicies(*bench.policies.book)
    bench.policies.book.put_directive(earlier)
    bench.restart()
    await bench.learn(2)
    assert followed(bench)[-1][1:] == (0, 2)


async def test_a_rollback_may_follow_a_rollback(bench):
    for n in (1, 2, 3):
        await bench.learn(n)
    bench.order("rollback", 1)
    await bench.publish()
    bench.order("rollback", 2)
    await bench.publish()
    assert followed(bench)[3:] == [(4, 1, 1), (5, 2, 2)]


async def test_a_policy_without_a_directive_of_its_own_is_not_held(bench):
    bench.policies.book.put_directive(Directive("other", 1, "pin"))
    for n in (1, 2):
        await bench.learn(n)
    assert bench.counts == [1, 2]


@pytest.mark.parametrize(
    "change", [{"exploration": {"floor": 0.1}}, {"generation": 2}], ids=["definition", "generation"]
)
async def test_a_changed_definition_waits_for_unpin(bench, change):
    await bench.learn(1)
    bench.order("pin")
    await bench.publish()
    changed = define(plain_policy(publish={"interval": "1s"}, **change))
    bench.policies.book.put(changed)
    bench.now_s += 1
    await bench.publish()
    bench.restart()
    await bench.publish()
    assert followed(bench) == [(1, 0, 1)]
    bench.order("unpin")
    await bench.publish()
    assert bench.history[-1]["definition_hash"] == changed.definition_hash
    assert bench.history[-1]["generation"] == changed.generation


async def test_a_version_of_an_earlier_generation_comes_back_as_it_was(bench):
    await bench.learn(1)
    bench.policies.book.put(define(plain_policy(publish={"interval": "1s"}, generation=2)))
    bench.now_s += 1
    await bench.publish()
    bench.order("rollback", 1)
    await bench.publish()
    assert [(record["version"], record["generation"]) for record in bench.history] == [(1, 1), (2, 2), (3, 1)]


# A directive costs two deliveries, the changelog's and the topics', each with a side before and one after.
@pytest.mark.parametrize("kill_at", range(4))
@pytest.mark.parametrize("loses_disk", [False, True], ids=["disk", "no disk"])
@pytest.mark.parametrize("action", ["rollback", "unpin"])
async def test_a_directive_survives_a_crash_anywhere_and_no_version_is_used_for_two_contents(
    bench, action, kill_at, loses_disk
):
    for n in (1, 2):
        await bench.learn(n)
    if action == "unpin":
        bench.order("pin")
        await bench.learn(3)
    bench.order(action, 1)
    sides = iter(range(100))

    def kill(_: str) -> None:
        if next(sides) == kill_at:
            raise Crashed

    bench.broker.interrupt = kill
    with pytest.raises(Crashed):
        await bench.publish()
    bench.broker.interrupt = lambda _: None
    if loses_disk:
        bench.table.lose()
    bench.restart()
    await bench.read(statistics(4, 4), mark(4))
    await bench.publish()
    bench.now_s += 1
    await bench.publish()
    ids = {(record["version"], snapshot_id(avro.encode("snapshot", record))) for record in bench.history}
    assert sorted(version for version, _ in ids) == list(range(1, len(ids) + 1))
    assert [record["version"] for record in bench.history if record["rollback_of"] == 1][:1] == (
        [3] if action == "rollback" else []
    )
    # Killed before the changelog has it, unpin publishes what is live when it is done again.
    expected = {"rollback": (3, 1, 1), "unpin": (3 if kill_at == 0 else 4, 0, 4)}
    assert followed(bench)[-1] == expected[action]


def base(first: int, sources: int, event_time_ms: int = 5) -> bytes:
    """Name the sources first, first - 1, … as what a replay put under generation 1."""
    cuts = [[{"topic": "rewards", "partition": 0, "offset": end}] for end in (0, 7)]
    fields = {"policy": "homepage", "generation": 1, "plan": f"plan {first}", "cuts": cuts, "first_source": first}
    return avro.encode("statistics_base", {**fields, "sources": sources, "event_time_ms": event_time_ms})


def replayed(n: int, source: int, segment: str = "new") -> tuple[bytes, bytes]:
    return statistics(n, 1, source, segment), mark(1, source)


async def publish_next(bench) -> int:
    """Publish after the interval; return what is counted."""
    bench.now_s += 1
    await bench.publish()
    return sum(sum(segment["counts"]) for segment in bench.history[-1]["segments"])


async def test_a_replay_s_rows_count_from_when_a_base_names_them_beside_what_is_learned(bench):
    await bench.read(*replayed(20, -1), statistics(3, 10), mark(10), *replayed(400, -2, "other"))
    assert await publish_next(bench) == 3
    assert bench.history[-1]["base_plan"] == ""
    await bench.read(base(-1, 2))
    assert await publish_next(bench) == 423
    last = bench.history[-1]
    assert (last["base_plan"], [cut[0]["offset"] for cut in last["base_cuts"]]) == ("plan -1", [0, 7])
    # The ledger's prefix is that of what was learned, alone.
    assert last["ledger_offsets"] == [{"partition": 0, "offset": 10}]


async def test_a_later_base_takes_the_place_of_the_earlier_all_at_once_and_an_earlier_one_changes_nothing(bench):
    await bench.read(*replayed(20, -1), *replayed(400, -2, "other"), base(-1, 2))
    assert await publish_next(bench) == 420
    await bench.read(*replayed(5_000, -3))
    assert await publish_next(bench) == 420
    await bench.read(base(-3, 1))
    assert await publish_next(bench) == 5_000
    await bench.read(*replayed(20, -1), *replayed(400, -2, "other"), base(-1, 2), statistics(3, 10), mark(10))
    assert await publish_next(bench) == 5_003
    bench.restart()
    await bench.read(statistics(4, 11), mark(11))
    assert await publish_next(bench) == 5_004
    # What is in no base any more is not kept.
    kept = [key for key in bench.table.partition(HOME).stored if key[:1] == b"p"]
    assert sorted(key.rpartition(b",")[2] for key in kept) == [b"-3]", b"0]"]


async def test_a_base_of_which_a_source_is_missing_is_not_taken_and_learning_goes_on(bench):
    await bench.read(*replayed(20, -1), base(-1, 2), statistics(3, 10), mark(10))
    assert await publish_next(bench) == 3


async def test_a_base_s_event_time_stands_until_something_is_learned_beside_it(bench):
    await bench.read(*replayed(20, -1), base(-1, 1, event_time_ms=77))
    await publish_next(bench)
    assert bench.history[-1]["event_time_ms"] == 77
    await bench.read(statistics(3, 10), mark(10))
    await publish_next(bench)
    assert bench.history[-1]["event_time_ms"] == 5


async def test_a_snapshot_that_a_later_release_has_stored_stops_the_worker_and_says_what_to_do(monkeypatch):
    """A release that is taken back meets what its successor wrote: it must not guess, nor publish from version 1 on."""
    bench = Bench(monkeypatch)
    await bench.learn(3)
    rows = (await bench.agent.open(HOME)).rows
    ((key, content),) = rows.scan(VERSION)
    of_later_release = content[:2] + bytes(8) + content[10:]  # another schema's fingerprint
    rows.write({key: of_later_release}, 99, ())
    bench.restart()
    with pytest.raises(
        StateError, match=r"stored snapshot can't be read \(unknown-fingerprint.*the release that wrote"
    ):
        await bench.agent.open(HOME)
