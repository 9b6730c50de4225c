"""Any interleaving, batching, redelivery, partition count and crash: the same sums, to the last bit.

    a topic          ─r0──r1──r2──r3──r4──…        records in the order in which they arrived
    a plan           read 2 ▸ read 3 (1 again) ▸ crash ▸ fold 4 ▸ time +3 s ▸ …
    the end          all is read, a tick closes everything, all is folded and gathered

Crashes come between what a step emits and what it makes durable (`tests/simulation.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec import avro
from pipeline.codec.revisions import Revisions
from pipeline.join.progress import DECISIONS, OUTCOMES
from pipeline.join.step import decode_arrivals, take
from pipeline.policy.book import PolicyBook
from pipeline.publish.partials import Partials
from pipeline.publish.snapshot import posterior_sha256
from tests.naive.fold import naive_fold, naive_ledger
from tests.naive.ledger import pieced_together
from tests.samples import define
from tests.simulation import STREAMS, JoinSimulation, LearnSimulation
from tests.traffic import FOREVER_MS, LIMITS, START_MS, Rolled, Traffic, plain_sums, traffic

# To make a failing example small may take hypothesis five minutes.
pytestmark = pytest.mark.timeout(600)

MOVES = [DECISIONS, OUTCOMES, "fold", "gather", "time"]


class Move(NamedTuple):
    """One thing that happens in a plan."""

    what: str
    partition: int
    count: int
    back: int
    crash: int | None


@st.composite
def moves(draw: st.DrawFn, *, may_crash: bool) -> list[Move]:
    """Draw a plan of a few moves, or a long one of small steps."""
    if draw(st.booleans()):
        crash = st.one_of(st.none(), st.integers(0, 3)) if may_crash else st.none()
        move = st.builds(Move, st.sampled_from(MOVES), st.integers(0, 3), st.integers(1, 12), st.integers(0, 6), crash)
        return draw(st.lists(move, max_size=40))
    dice = Rolled(draw(st.integers(0, 2**32)))
    return [
        Move(
            MOVES[dice.below(len(MOVES))],
            dice.below(4),
            1 + dice.below(12),
            dice.below(7),
            dice.below(4) if may_crash and not dice.below(5) else None,
        )
        for _ in range(200)
    ]


@dataclass
class World:
    """All partitions, and what PUBLISH has gathered."""

    joins: list[JoinSimulation]
    learns: list[LearnSimulation]
    partials: Partials
    gathered: list[int]
    now_ms: int

    def play(self, plan: list[Move]) -> None:
        for move in plan:
            number = move.partition % len(self.joins)
            if move.what == "time":
                self.now_ms += move.count * 500
            elif move.what == "fold":
                self.learns[number].fold(move.count, back=move.back, crash=move.crash)
            elif move.what == "gather":
                self.gather(number, move.count, back=move.back)
            else:
                self.joins[number].read(move.what, move.count, back=move.back, now_ms=self.now_ms, crash=move.crash)

    def gather(self, number: int, count: int, back: int = 0) -> None:
        """Take in statistics and marks, from `back` before where reading stopped."""
        start = max(0, self.gathered[number] - back)
        self.gathered[number] = min(len(self.learns[number].emitted), self.gathered[number] + count)
        for emitted in self.learns[number].emitted[start : self.gathered[number]]:
            if emitted.mark is not None:
                self.partials.mark(number, emitted.mark)
            elif emitted.key is not None and emitted.statistics is not None:
                self.partials.stage(emitted.key, emitted.ledger_offset, emitted.statistics)

    def finish(self) -> None:
        """Read all, close everything, fold and gather all."""
        for number, (join, learn) in enumerate(zip(self.joins, self.learns, strict=True)):
            join.read_all(FOREVER_MS)
            join.topics[DECISIONS].append((FOREVER_MS, avro.encode("tick", {"event_time_ms": FOREVER_MS})))
            join.read_all(FOREVER_MS)
            assert not join.actions.stored
            assert not join.actions.index
            learn.fold(len(learn.ledger))
            self.gather(number, len(learn.emitted))


def world(data: Traffic, partitions: int, *, is_replay: bool, forgets: bool, step_rows: int) -> World:
    book = PolicyBook()
    book.put(define(data.policy))
    topics = data.topics(partitions)
    joins = [JoinSimulation(topics[number], book, LIMITS, step_rows) for number in range(partitions)]
    learns = [LearnSimulation(join.ledger, number, forgets=forgets) for number, join in enumerate(joins)]
    return World(joins, learns, Partials(), [0] * partitions, FOREVER_MS if is_replay else START_MS)


def assert_exact(played: World, data: Traffic) -> None:
    naive = naive_fold(data.policy, [d.record for d in data.decisions], [o.record for o in data.outcomes])
    rows = played.partials.by_bucket()
    assert plain_sums(rows) == naive.sums
    assert posterior_sha256(define(data.policy), rows, FOREVER_MS) == naive.sha256


worlds = {
    "partitions": st.integers(1, 4),
    "is_replay": st.booleans(),
    "forgets": st.booleans(),
    "step_rows": st.sampled_from([1, 2, 2_000]),
}


@settings(max_examples=250)
@given(data=traffic(), plan=moves(may_crash=True), **worlds)
def test_the_sums_are_the_naive_ones_whatever_happens_on_the_way(data: Traffic, plan: list[Move], **how: Any) -> None:
    played = world(data, **how)
    played.play(plan)
    played.finish()
    assert_exact(played, data)


@settings(max_examples=150)
@given(data=traffic(), plan=moves(may_crash=True), **worlds)
def test_increments_come_to_the_outcomes_of_the_naive_ledger_whatever_is_told_again(
    data: Traffic, plan: list[Move], **how: Any
) -> None:
    played = world(data, **how)
    played.play(plan)
    played.finish()
    expected = naive_ledger(data.policy, [d.record for d in data.decisions], [o.record for o in data.outcomes])
    last: dict[str, dict[str, Any]] = {}
    for join in played.joins:
        records, revisions = [avro.decode_as("reward", raw) for raw in join.ledger], Revisions()
        for record, naive in zip(records, pieced_together(records), strict=True):
            whole = revisions.whole(record)
            assert whole is None or (whole["outcomes"], whole["decision"]) == (naive["outcomes"], naive["decision"])
            if naive["revision"] >= last.get(naive["action_id"], naive)["revision"]:
                last[naive["action_id"]] = naive
    assert {name: frozenset(one["outcome_id"] for one in record["outcomes"]) for name, record in last.items()} == {
        name: entry.outcomes for name, entry in expected.items()
    }


@settings(max_examples=100)
@given(data=traffic(), plan=moves(may_crash=False), **worlds)
def test_without_crashes_revisions_rise_and_event_time_never_falls(data: Traffic, plan: list[Move], **how: Any) -> None:
    played = world(data, **how)
    played.play(plan)
    played.finish()
    for join in played.joins:
        records = [avro.decode_as("reward", raw) for raw in join.ledger]
        stamps = [record["event_time_ms"] for record in records]
        assert stamps == sorted(stamps)
        revisions: dict[str, int] = {}
        for record in records:
            assert record["revision"] > revisions.get(record["action_id"], 0)
            revisions[record["action_id"]] = record["revision"]


@settings(max_examples=60)
@given(data=traffic(), plan=moves(may_crash=True), **worlds)
def test_redelivery_of_everything_changes_nothing(data: Traffic, plan: list[Move], **how: Any) -> None:
    played = world(data, **how)
    played.play(plan)
    for join, learn in zip(played.joins, played.learns, strict=True):
        rows, progress, sums = dict(join.actions.stored), join.progress.to_bytes(), learn.sums()
        for stream in STREAMS:
            sent = join.topics[stream][: join.progress.positions[stream]]
            again = decode_arrivals(
                stream, [(o, arrived_ms, None, raw) for o, (arrived_ms, raw) in enumerate(sent)], {}
            )
            changes = take(stream, again, join.progress, join.actions, join.book, join.limits)
            assert (changes.rows, changes.rewards, changes.refusals) == ({}, [], [])
        learn.fold(0, back=learn.state.position)
        assert (join.actions.stored, join.progress.to_bytes(), learn.sums()) == (rows, progress, sums)


@settings(max_examples=60)
@given(data=traffic(), plan=moves(may_crash=True), **worlds)
def test_a_gathered_cut_is_the_fold_of_the_ledger_below_its_marks(data: Traffic, plan: list[Move], **how: Any) -> None:
    played = world(data, **how)
    played.play(plan)
    for number, mark in played.partials.marks.items():
        fresh = LearnSimulation(played.joins[number].ledger, number, forgets=False)
        fresh.fold(mark.ledger_offset)
        merged = {key.row: row for key, row in played.partials.merged.items() if key.source == number}
        assert merged == fresh.sums()
