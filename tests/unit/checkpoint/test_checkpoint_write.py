"""A checkpoint is written when it is due, shares parts with the one before, and leaves two whole."""

from __future__ import annotations

import asyncio
import threading
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
import rocksdict

from pipeline.checkpoint import topic, write
from pipeline.checkpoint.head import chain_fault
from pipeline.checkpoint.state import LedgerState, stored_lines
from pipeline.checkpoint.topic import Held, load, read_held
from pipeline.checkpoint.write import Checkpoints
from pipeline.codec import avro
from pipeline.errors import StateError, UnavailableError
from pipeline.learn.memory import Counted, FoldState
from pipeline.stream.log.chores import Chores
from pipeline.stream.log.topics import CHECKPOINTS
from pipeline.stream.state.tables import Database, PartitionRows
from tests.doubles import MemoryBroker

OPEN_MS = 1_000_000


class StoredRows:
    """LEARN's rows of actions that are all open."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.fold(0)

    def fold(self, count: int) -> None:
        """Let so many actions be folded in all."""
        for number in range(count):
            action_id = b"action-%06d" % number
            self.rows[b"r" + action_id] = Counted(1, number, OPEN_MS + number).to_bytes()
            self.rows[b"d" + (OPEN_MS + number).to_bytes(8) + action_id] = b""
        self.rows[b"s"] = FoldState(count, count).to_bytes()

    def moment(self) -> StoredRows:
        moment = StoredRows()
        moment.rows = dict(self.rows)
        return moment

    def close(self) -> None:
        self.rows = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, prefix: bytes) -> Any:
        return ((key, value) for key, value in sorted(self.rows.items()) if key.startswith(prefix))


class Killed(BaseException):
    """The process ended here, and nothing of it goes on."""


class Bench:
    """The worker's checkpoints over a broker in memory."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.broker = MemoryBroker(1)
        self.rows = StoredRows()
        self.now_s = 1_000_000.0
        self.broker.now_ms = lambda: round(self.now_s * 1000)
        self.written: list[tuple[int, int]] = []
        self.kill_at = ""

        class Sender:
            """An outbox that is started and stopped."""

            def __init__(self, _: Any) -> None: ...

            async def start(self) -> None: ...

            async def stop(self) -> None: ...

            deliver = staticmethod(self.broker.deliver)

        class Follower:
            """A follower of the topic, from its start to its end."""

            def __init__(self, _: Any, name: str, **__: Any) -> None:
                self._name = name

            async def start(self) -> None: ...

            async def stop(self) -> None: ...

            async def batches_to_end(_self) -> Any:  # noqa: N805
                yield [
                    SimpleNamespace(partition=0, key=one.key, value=one.value, timestamp=one.timestamp)
                    for one in self.broker.logs[CHECKPOINTS, 0]
                ]

        patch.setattr(write, "Outbox", Sender)
        patch.setattr(topic, "TopicFollower", Follower)
        patch.setattr(write, "time", SimpleNamespace(time=lambda: self.now_s, monotonic=lambda: self.now_s))
        self.start()

    def start(self, first_look_s: float = 0.0) -> None:
        """Begin anew, as a worker does after a crash."""
        self.checkpoints = Checkpoints(
            "b:1",
            lambda _: (self.rows, "ledger"),
            100.0,
            self.reach,
            first_look_s=first_look_s,
            on_written=lambda *of: self.written.append(of),
        )

    def reach(self, point: str) -> None:
        if point == self.kill_at:
            raise Killed

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    def write(self) -> None:
        asyncio.run(self.checkpoints.write_if_due(0))

    def held(self) -> Held:
        return asyncio.run(read_held("b:1", 0)).get(0, Held())

    def state(self, head: Any) -> LedgerState:
        state = LedgerState()
        asyncio.run(load("b:1", {0: self.held().lists[head.state]}, lambda _, content: state.read(content)))
        return state


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def test_what_was_written_is_what_was_stored(bench):
    bench.rows.fold(5_000)
    bench.write()
    (head,) = bench.held().heads.values()
    assert (head.offset, head.event_time_ms, head.previous, head.topic_id) == (5_000, 5_000, "", "ledger")
    state = bench.state(head)
    assert len(state.counted) == 5_000
    assert state.counted["action-000007"] == Counted(1, 7, OPEN_MS + 7)
    assert bench.written == [(0, 5_000)]


def test_nothing_is_written_before_it_is_due_of_nothing_or_of_nothing_new(bench):
    bench.write()
    assert not bench.held().heads  # nothing is folded yet
    bench.pass_time(100)
    bench.rows.fold(10)
    bench.write()
    bench.rows.fold(20)
    bench.pass_time(99)
    bench.write()
    bench.start()
    bench.write()  # a worker that starts again reads when the last one was written
    assert [head.offset for head in bench.held().heads.values()] == [10]
    bench.pass_time(1)
    bench.write()
    bench.pass_time(100)
    bench.write()
    assert [head.offset for head in bench.held().heads.values()] == [10, 20]


def test_whoever_has_just_started_looks_later(bench):
    bench.start(first_look_s=60.0)
    bench.rows.fold(10)
    bench.write()
    assert not bench.held().heads
    bench.pass_time(60)
    bench.write()
    assert bench.held().heads


def test_a_chain_keeps_all_heads_and_two_of_them_whole_and_sends_what_changed(bench):
    for count in (20_000, 21_000, 22_000, 23_000):
        bench.rows.fold(count)
        bench.write()
        bench.pass_time(100)
    held = bench.held()
    heads = list(held.heads.values())
    assert chain_fault(heads) == ""
    assert [held.is_whole(head) for head in heads] == [False, False, True, True]
    assert held.parts == {name for head in heads[-2:] for name in held.lists[head.state]}
    assert set(held.lists) == {head.state for head in heads[-2:]}
    # 20,000 actions of 50 bytes are some 12 parts; the thousand behind them are in the last one or two.
    sent = [record for record in bench.broker.logs[CHECKPOINTS, 0] if record.key.startswith(b"part/") and record.value]
    assert len(sent) <= heads[0].parts + 3 * 3


@pytest.mark.parametrize("point", ["part-sent", "parts-sent", "head-sent"])
def test_a_worker_killed_on_the_way_leaves_whole_checkpoints_and_the_next_goes_on_from_them(bench, point):
    bench.rows.fold(3_000)
    bench.write()
    bench.pass_time(100)
    bench.rows.fold(4_000)
    bench.kill_at = point
    with pytest.raises(Killed):
        bench.write()
    for head in bench.held().heads.values():
        assert len(bench.state(head).counted) == head.offset
    bench.kill_at = ""
    bench.start()
    bench.rows.fold(5_000)
    bench.pass_time(100)
    bench.write()
    held = bench.held()
    last = list(held.heads.values())[-1]
    assert (last.offset, chain_fault(held.heads.values())) == (5_000, "")
    assert len(bench.state(last).counted) == 5_000
    assert held.parts == {name for head in list(held.heads.values())[-2:] for name in held.lists[head.state]}


@pytest.mark.parametrize("error", [UnavailableError("no broker answers"), KeyError("a fault of this code")])
def test_a_checkpoint_that_cant_be_written_is_told_of_and_tried_again(bench, caplog, monkeypatch, error):
    bench.rows.fold(10)

    async def refuse(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(bench.broker, "deliver_all", refuse)
        bench.write()
    assert "checkpoint-not-written" in caplog.text
    assert not bench.held().heads
    bench.pass_time(60)
    bench.write()
    assert bench.held().heads


def test_a_worker_that_was_taken_for_dead_writes_none_behind_its_successor_s(bench):
    bench.rows.fold(20)
    bench.write()
    bench.rows.fold(19)
    bench.pass_time(100)
    bench.start()
    bench.write()
    assert [head.offset for head in bench.held().heads.values()] == [20]
    assert bench.written == [(0, 20)]


def test_a_head_under_another_s_name_is_passed_over(bench):
    bench.rows.fold(10)
    bench.write()
    (record,) = [one for one in bench.broker.logs[CHECKPOINTS, 0] if one.key.startswith(b"head/")]
    (head,) = bench.held().heads.values()
    record.value = head._replace(offset=9).to_bytes()
    assert not bench.held().heads


@pytest.mark.parametrize(
    ("deflated", "words"),
    [
        (zlib.compress(b"x" * 100)[:-5], "cut off"),
        (zlib.compress(bytes((64 << 20) + 1), 1), "more than"),
        (b"no zlib", "can't be read"),
    ],
)
def test_a_part_that_is_torn_swells_without_bound_or_is_none_is_refused(deflated, words):
    with pytest.raises(StateError, match=words):
        topic.content_of("name", avro.encode("checkpoint_part", {"lines": deflated}))


def test_a_part_that_was_changed_is_refused(bench):
    bench.rows.fold(10)
    bench.write()
    (head,) = bench.held().heads.values()
    (part,) = [one for one in bench.broker.logs[CHECKPOINTS, 0] if one.key.startswith(b"part/")]
    other = b"".join(stored_lines(StoredRows()))
    part.value = topic.record_of(0, "part/", topic.part_of(other)).value
    with pytest.raises(StateError, match="it was changed"):
        bench.state(head)


@pytest.mark.usefixtures("bench")
def test_who_is_cut_off_lets_go_of_the_rows_at_once(tmp_path, monkeypatch):
    folder, cache = tmp_path / "rows", rocksdict.Cache(1 << 20)
    stored = StoredRows()
    stored.fold(100)

    async def give_the_partition_away_and_get_it_back() -> None:
        at_work = asyncio.Event()

        async def never(_: Any) -> None:
            at_work.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(write.Outbox, "deliver", staticmethod(never), raising=False)
        database = Database(folder, cache)
        PartitionRows(database, 0, "changelog").write(dict(stored.rows), 1, [])
        checkpoints = Checkpoints("b:1", lambda _: (PartitionRows(database, 0, ""), "ledger"), 100.0, first_look_s=0.0)
        lanes: Any = SimpleNamespace(chores=[], is_open=lambda _: True)
        chores = Chores(lanes, lambda: [0], lambda: asyncio.sleep(0), checkpoints.write_if_due, waits=False)
        running = asyncio.create_task(chores.run())
        await at_work.wait()
        running.cancel()
        assert await chores.rest(0) == frozenset()
        database.close()
        Database(folder, cache).close()  # RocksDB would say that it is locked

    asyncio.run(give_the_partition_away_and_get_it_back())


def test_who_is_cut_off_waits_for_the_part_that_is_being_made():
    made: list[int] = []

    async def cut_off() -> None:
        begun, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def parts() -> Any:
            loop.call_soon_threadsafe(begun.set)
            assert may_end.wait(30)
            made.append(1)
            yield 1

        async def go_through() -> None:
            async for _ in write.in_thread(parts()):
                pass

        task = asyncio.create_task(go_through())
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        may_end.set()
        await asyncio.gather(task, return_exceptions=True)
        assert made == [1]

    asyncio.run(cut_off())
