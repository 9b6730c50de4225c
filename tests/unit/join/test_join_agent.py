from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from pipeline.codec import avro
from pipeline.errors import DecodeError
from pipeline.join import agent as join_agent
from pipeline.join.agent import STEP_BYTES, STEP_ROWS, JoinAgent, outputs, steps
from pipeline.join.progress import DECISIONS, OUTCOMES
from pipeline.join.step import Arrival, Changes, Limits, Refusal
from pipeline.join.stored_row import due_of
from pipeline.learn.ledger import fold_ledger, ledger_record
from pipeline.learn.memory import FoldState
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from tests.doubles import Crashed, KnownPolicies, MemoryBroker, MemoryTable
from tests.samples import define, linear_policy, plain_decision, plain_outcome, plain_policy

S = 1_000
START_MS = 1_700_000_000_000


class Bench:
    """A JOIN agent, its table, and a clock."""

    def __init__(self, monkeypatch, policy=None, limits=None) -> None:
        self.broker = MemoryBroker(partitions=1)
        self.now_s = 0.0
        self.broker.now_ms = lambda: START_MS + round(self.now_s * S)
        monkeypatch.setattr(join_agent, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.table = MemoryTable(self.broker, "changelog", due_of)
        policies = KnownPolicies(define(policy or plain_policy()))
        self.agent = JoinAgent(self.table, self.broker, policies, self.is_caught_up, limits or Limits())

    def is_caught_up(self, topic, partition, position, since_ms):
        del since_ms
        return position >= len(self.broker.logs[topic, partition])

    async def read_all(self) -> None:
        """Handle what each topic holds beyond the partition's position, as one batch."""
        for topic in (DECISIONS, OUTCOMES):
            log = self.broker.logs[topic, 0][(await self.agent.open(0)).progress.positions[topic] :]
            if log:
                await self.agent.handle(Batch(topic, 0, log[0].offset, log, log[-1].offset + 1))

    def send(self, topic, *records) -> None:
        for record in records:
            self.broker.append(topic, 0, b"key", orjson.dumps(record))

    @property
    def event_time_s(self) -> float:
        return (self.agent.partitions.known(0).progress.event_time_ms - START_MS) / S


@pytest.fixture
async def bench(monkeypatch) -> Bench:
    return await opened(Bench(monkeypatch))


async def opened(bench: Bench) -> Bench:
    await bench.agent.open(0)
    return bench


def arrivals(sizes) -> list[Arrival]:
    return [Arrival(offset, 0, None, bytes(size), DecodeError("x", "x")) for offset, size in enumerate(sizes)]


@pytest.mark.parametrize(
    "sizes",
    [[], [1], [1] * (2 * STEP_ROWS + 1), [STEP_BYTES + 1], [STEP_BYTES, 1, 1], [1 << 20] * 7, [STEP_BYTES // 3] * 10],
)
def test_steps_cut_a_batch_without_losing_or_reordering_a_record(sizes):
    batch = arrivals(sizes)
    cut = [list(step) for step in steps(batch)]
    assert [arrival for step in cut for arrival in step] == batch
    assert all(cut)
    # A step ends with the record that fills it, and a record is at most 1 MiB where it's kept.
    assert all(sum(len(a.raw) for a in step[:-1]) <= STEP_BYTES for step in cut)
    assert all(len(step) <= STEP_ROWS + 1 for step in cut)
    assert len(cut) <= 1 + sum(sizes) // STEP_BYTES + len(sizes) // STEP_ROWS


def test_outputs_are_ledger_records_by_action_and_dead_letters_by_where_they_were_read():
    refusal = Refusal(OUTCOMES, 17, 5, b"key", b"raw", DecodeError("not-decodable", "it is nonsense"))
    ((key, letter),) = outputs(Changes(refusals=[refusal]), 3).pop((topics.DEAD_LETTERS, 3))
    assert key == b"outcomes/3/17"
    assert avro.decode_as("dead_letter", letter) == {
        "reason": "not-decodable",
        "detail": "it is nonsense",
        "source_topic": "outcomes",
        "source_partition": 3,
        "source_offset": 17,
        "record_timestamp_ms": 5,
        "record_key": b"key",
        "raw": b"raw",
        "raw_bytes": 3,
        "raw_sha256": "",
        "record_key_bytes": 3,
    }


def batches(bench) -> list[Batch]:
    logs = [(topic, bench.broker.logs[topic, 0]) for topic in (OUTCOMES, DECISIONS)]
    return [Batch(topic, 0, log[0].offset, log, log[-1].offset + 1) for topic, log in logs]


def deliveries(bench) -> list[str]:
    """Return, from now on, each delivery that is made."""
    made: list[str] = []
    bench.broker.interrupt = lambda when: made.append(when) if when == "before" else None
    return made


async def test_small_batches_of_both_topics_are_one_step_in_which_an_outcome_finds_its_decision(bench):
    bench.agent._policies.book.put(define(plain_policy(settle="optimistic")))
    bench.send(OUTCOMES, plain_outcome("x", START_MS + 1))
    bench.send(DECISIONS, plain_decision("x", START_MS))
    made = deliveries(bench)
    await bench.agent.handle(*batches(bench))
    assert len(made) == 2  # the ledger and the changelog, once each
    states = [len(avro.decode_as("reward", value)["outcomes"]) for value in bench.broker.values(topics.REWARDS)]
    assert states == [0, 1]  # of the decision, and with its outcome
    progress = bench.agent.partitions.known(0).progress
    assert (progress.counts["decisions.open"], progress.counts["outcomes.credited"]) == (1, 1)


async def test_batches_of_both_topics_read_again_change_nothing(bench):
    bench.send(OUTCOMES, plain_outcome("x", START_MS + 1))
    bench.send(DECISIONS, plain_decision("x", START_MS))
    await bench.agent.handle(*batches(bench))
    before = bench.broker.values("changelog")
    await bench.agent.handle(*batches(bench))
    assert bench.broker.values("changelog") == before


async def test_batches_that_are_too_large_to_be_one_step_are_taken_one_after_the_other(bench, monkeypatch):
    monkeypatch.setattr(join_agent, "TOGETHER_BYTES", 10)
    bench.send(OUTCOMES, plain_outcome("x", START_MS + 1))
    bench.send(DECISIONS, plain_decision("x", START_MS))
    await bench.agent.handle(*batches(bench))
    progress = bench.agent.partitions.known(0).progress
    assert progress.positions == {DECISIONS: 1, OUTCOMES: 1}
    assert progress.counts["outcomes.credited"] == 1


async def test_the_ledger_is_delivered_before_the_state_is(bench):
    order = []
    bench.agent._policies.book.put(define(plain_policy(settle="optimistic")))
    bench.send(DECISIONS, plain_decision("x", START_MS))
    bench.broker.interrupt = lambda when: order.append(
        (when, len(bench.broker.values(topics.REWARDS)), len(bench.broker.values("changelog")) > 0)
    )
    await bench.read_all()
    # ledger, then changelog; each is looked at before and after its delivery
    assert order == [("before", 0, False), ("after", 1, False), ("before", 1, False), ("after", 1, True)]


def tick_times_s(bench) -> list[float]:
    ticks = [
        avro.decode_as("tick", value)["event_time_ms"] for value in bench.broker.values(DECISIONS) if value[:1] != b"{"
    ]
    return [(tick - START_MS) / S for tick in ticks]


async def test_an_idle_partition_ticks_by_the_clock_and_only_when_something_is_due(bench):
    """
    clock   0    1    2    …    10   …    15   …   20      a look every second, idle after 2 s
    row     ├───── window ──────┤── grace ─┤
    tick                        10        15               as many seconds after the last event, never more
    """
    bench.send(DECISIONS, plain_decision("x", START_MS))
    await bench.read_all()
    for _ in range(20):
        bench.now_s += 1
        await bench.agent.tick(0, 2.0)
        await bench.read_all()
    assert tick_times_s(bench) == [10.0, 15.0]
    assert bench.event_time_s == 15.0


async def test_outcomes_of_nobody_do_not_keep_a_partition_from_being_idle(bench):
    bench.send(DECISIONS, plain_decision("x", START_MS))
    await bench.read_all()
    for second in range(12):
        bench.now_s += 1
        bench.send(OUTCOMES, plain_outcome("nobody's", START_MS, f"o{second}"))
        await bench.read_all()
        await bench.agent.tick(0, 2.0)
        await bench.read_all()
    assert bench.event_time_s == 10.0  # where the window closes


async def test_where_producers_stamp_their_records_time_goes_by_the_worker_s_own_ticks(bench, monkeypatch):
    """
    clock   0    …   10 x is due      a producer 55 minutes fast decides at 1 s
    tick                  told        before that nothing is due, and nothing said
    """
    monkeypatch.setattr(join_agent, "time_ns", lambda: bench.broker.now_ms() * 1_000_000)
    monkeypatch.setattr(bench.broker, "stamps", 0)
    for name, ahead_s in (("x", 0), ("fast", 3_300)):
        at_ms = START_MS + ahead_s * S
        bench.broker.append(DECISIONS, 0, None, orjson.dumps(plain_decision(name, at_ms)), at_ms)
    await bench.read_all()
    for _ in range(9):
        bench.now_s += 1
        await bench.agent.tick(0, 100.0)
    assert tick_times_s(bench) == []
    assert bench.event_time_s < 0
    bench.now_s += 1
    await bench.agent.tick(0, 100.0)
    await bench.read_all()
    counts = bench.agent.partitions.known(0).progress.counts
    assert (bench.event_time_s, counts["decisions.settled"], counts["decisions.open"]) == (10.0, 1, 1)


async def test_a_partition_that_holds_nothing_is_left_alone(bench):
    bench.now_s += 100
    await bench.agent.tick(0, 2.0)
    assert tick_times_s(bench) == []


async def test_a_partition_that_is_not_read_to_its_end_is_left_alone(bench):
    bench.send(DECISIONS, plain_decision("x", START_MS))
    await bench.read_all()
    bench.send(OUTCOMES, plain_outcome("x", START_MS + 1))
    bench.now_s += 100
    await bench.agent.tick(0, 2.0)
    assert tick_times_s(bench) == []


async def test_ticks_settle_the_last_decisions_and_then_stop(bench):
    bench.send(DECISIONS, plain_decision("x", START_MS))
    await bench.read_all()
    for _ in range(40):
        bench.now_s += 1
        await bench.agent.tick(0, 2.0)
        await bench.read_all()
    assert len(bench.broker.values(topics.REWARDS)) == 1
    assert not bench.agent.partitions.known(0).rows.due(2**62, 1)
    # 10 s of window and 5 s of grace: nothing waits for a time beyond
    assert max(tick_times_s(bench)) == 15.0


async def test_decisions_of_many_kilobytes_that_meet_small_outcomes_fit_their_steps(bench):
    """2,000 outcomes of 100 bytes change 2,000 rows of 8 KB: more than one record batch of 8 MiB."""
    text = "x" * 8_000
    names = [f"x{number}" for number in range(STEP_ROWS)]
    bench.send(DECISIONS, *(plain_decision(name, START_MS, context={"text": text}) for name in names))
    bench.send(OUTCOMES, *(plain_outcome(name, START_MS) for name in names))
    await bench.read_all()
    assert bench.agent.partitions.known(0).progress.counts["outcomes.credited"] == STEP_ROWS


async def test_decisions_of_many_kilobytes_that_fall_due_together_fit_their_steps(bench):
    text = "x" * 8_000
    names = [f"x{number}" for number in range(STEP_ROWS)]
    bench.send(DECISIONS, *(plain_decision(name, START_MS, context={"text": text}) for name in names))
    await bench.read_all()
    bench.now_s = 20
    bench.send(DECISIONS, {"event_time_ms": START_MS + 20 * S})
    await bench.read_all()
    assert bench.agent.partitions.known(0).progress.counts["decisions.settled"] == STEP_ROWS


async def test_large_outcomes_of_one_action_that_wait_do_not_stop_the_partition(bench):
    """Nine outcomes of almost a mebibyte each, for a decision that has not come: more than a record batch."""
    padding = "x" * 1_000_000
    bench.send(OUTCOMES, *(plain_outcome("x", START_MS, f"o{i}", note=padding) for i in range(9)))
    bench.send(DECISIONS, plain_decision("y", START_MS))
    await bench.read_all()
    assert bench.agent.partitions.known(0).progress.counts["decisions.open"] == 1


async def test_a_flood_of_outcomes_of_one_action_does_not_stop_the_partition(bench):
    """2,000 outcomes with ids of 768 bytes, as a broken producer may send; a row holds a thousand of them."""
    bench.send(DECISIONS, plain_decision("x", START_MS))
    ids = (f"{number}-".ljust(256, "語") for number in range(2_000))
    bench.send(OUTCOMES, *(plain_outcome("x", START_MS, name, kind="like") for name in ids))
    bench.send(DECISIONS, plain_decision("y", START_MS))
    await bench.read_all()
    counts = bench.agent.partitions.known(0).progress.counts
    assert counts["decisions.open"] == 2
    assert (counts["outcomes.credited"], counts["outcomes.rejected.too-many-outcomes"]) == (1_000, 1_000)


async def test_an_action_at_its_bound_does_not_make_every_outcome_a_step(bench):
    """Each step costs two round trips to the broker: a flood of one action must not hold up the others' outcomes."""
    bench.send(DECISIONS, plain_decision("x", START_MS))
    bench.send(OUTCOMES, *(plain_outcome("x", START_MS, f"o{number}") for number in range(2_000)))
    steps = []
    bench.broker.interrupt = steps.append
    await bench.read_all()
    # 2,000 records of 100 bytes; a deliver of outputs and one of rows each step, each looked at twice
    assert len(steps) / 4 <= 20


@pytest.mark.parametrize("character", ["\x01", "語"])
async def test_whatever_waits_for_its_decision_fits_its_steps(bench, character):
    """Ids of 256 characters, kinds of six bytes each in stored JSON, and keys that are longer than the records."""
    names = [f"{number}-".ljust(256, "x") for number in range(STEP_ROWS)]
    for name in names:
        value = avro.encode("outcome", plain_outcome(name, START_MS, name, kind=character * 256, value=1.0))
        bench.broker.append(OUTCOMES, 0, bytes(3_000), value)
    await bench.read_all()
    assert bench.agent.partitions.known(0).progress.counts["outcomes.awaiting-decision"] == STEP_ROWS


async def test_vectors_that_are_encoded_here_fit_their_steps(monkeypatch):
    """A short record of raw context, and 256 numbers made of it."""
    country = {"name": "country", "kind": "categorical", "values": [f"c{number}" for number in range(254)]}
    bench = await opened(Bench(monkeypatch, linear_policy(context=[country])))
    for number in range(STEP_ROWS):
        bench.send(DECISIONS, plain_decision(f"x{number}", START_MS, context={"country": "c1"}))
    await bench.read_all()
    assert bench.agent.partitions.known(0).progress.counts["decisions.open"] == STEP_ROWS


@pytest.mark.parametrize(
    ("asked", "sides"), [(0, 6), (2, 8)], ids=["ends-known-in-the-step", "ends-known-later-and-promised-by-themselves"]
)
async def test_time_that_the_ledger_tells_of_is_not_taken_back_by_a_crash(monkeypatch, asked: int, sides: int) -> None:
    """
    decisions  x at 0   y at 20 s   z at 60 s      x is let go at 15 s, y settles at 30 s: the ledger says so
    killed     ─ ledger delivered ─×─ changelog    an outcome of x comes now, far too late

    A delivery has two sides. The step that takes sends to the ledger and the changelog; a promise to the changelog; and
    time that passes to the ledger, and at last to the changelog.
    """
    bench = await opened(Bench(monkeypatch, plain_policy(settle="optimistic")))
    bench.now_s = 120.0
    bench.send(DECISIONS, *(plain_decision(name, START_MS + s * S) for name, s in (("x", 0), ("y", 20), ("z", 60))))
    deliveries = iter(range(sides))
    questions = iter(range(asked))

    def is_caught_up_later(*question: Any) -> bool:
        return next(questions, None) is None and bench.is_caught_up(*question)

    bench.agent._caught_up = is_caught_up_later

    def killed(_: str) -> None:
        if next(deliveries, None) is None:  # time's own changelog record, which is never sent
            raise Crashed

    bench.broker.interrupt = killed
    with pytest.raises(Crashed):
        await bench.read_all()
    bench.broker.interrupt = lambda _: None
    again = Bench(monkeypatch, plain_policy(settle="optimistic"))
    again.broker = bench.broker
    again.agent = JoinAgent(bench.table, bench.broker, again.agent._policies, bench.is_caught_up, Limits())
    again.send(OUTCOMES, plain_outcome("x", START_MS + 5 * S))
    await again.read_all()
    records = [avro.decode_as("reward", raw) for raw in bench.broker.values(topics.REWARDS)]
    folded = fold_ledger([ledger_record(offset, one) for offset, one in enumerate(records)], {}, FoldState())
    last = {one["action_id"]: one for one in sorted(records, key=lambda one: one["revision"])}
    assert sum(row.reward_sum for row in folded.deltas.values()) == sum(one["reward"] for one in last.values())
    assert sum(row.n for row in folded.deltas.values()) == len(last) == 3


async def test_what_waits_for_nobody_in_a_partition_without_a_decision_is_let_go_in_time(bench):
    bench.send(OUTCOMES, plain_outcome("nobody's", START_MS))
    await bench.read_all()
    for _ in range(2):
        bench.now_s += 3_600  # as long as an outcome waits
        await bench.agent.tick(0, 2.0)
        await bench.read_all()
    assert bench.agent.partitions.known(0).progress.counts["outcomes.expired-orphan"] == 1
