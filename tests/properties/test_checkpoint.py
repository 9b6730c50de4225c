"""A checkpoint: what LEARN has stored, what a fold from offset 0 comes to, and what other code comes to, byte for byte;
and whoever goes on from it comes to what they would have come to anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.checkpoint import state
from pipeline.checkpoint.parts import cut, list_of, part_of
from pipeline.checkpoint.state import LedgerState, stored_fold, stored_lines
from pipeline.codec import avro
from pipeline.independent import checkpoint as by_other_code
from pipeline.independent.fold import Partition
from pipeline.independent.records import read_record
from pipeline.learn.ledger import fold_ledger, ledger_record, merge_deltas
from pipeline.stream.log import topics
from tests.killed_worker import DIRECT, PUBLISH, Move, Worker, moves
from tests.properties.test_independent import HOW, played
from tests.samples import ensemble_policy, exp3_policy, linear_policy, plain_policy
from tests.traffic import Traffic, traffic

pytestmark = pytest.mark.timeout(600)


def folded(ledger: Sequence[bytes], begun: LedgerState | None = None) -> LedgerState:
    """Fold a ledger from where a state stands, record by record."""
    one = begun or LedgerState()
    for offset, raw in enumerate(ledger):
        fold = fold_ledger([ledger_record(offset, avro.decode_as("reward", raw))], one.counted, one.fold)
        one.counted |= fold.counted
        merge_deltas(one.rows, fold.deltas.items())
    return one


def lines(one: LedgerState) -> bytes:
    return b"".join(state.lines_of(one.fold.watermark_ms, one.counted, one.rows))


def folded_by_other_code(ledger: Sequence[bytes], partition: Partition, start: int = 0) -> Partition:
    for raw in ledger[start:]:
        partition.take(read_record("reward", raw))
    return partition


def lines_by_other_code(partition: Partition) -> bytes:
    return b"".join(by_other_code.lines_of(partition))


def begun_at(ledger: Sequence[bytes], end: int) -> LedgerState:
    """Go on from the parts of a checkpoint, and from nothing else."""
    before = folded(ledger[:end])
    begun = LedgerState()
    for part in cut(state.lines_of(before.fold.watermark_ms, before.counted, before.rows)):
        begun.read(part.content)
    begun.fold.position, begun.fold.watermark_ms = end, before.fold.watermark_ms
    return begun


def begun_by_other_code(ledger: Sequence[bytes], end: int) -> Partition:
    before = folded_by_other_code(ledger[:end], Partition())
    begun = Partition()
    begun.event_time_ms = before.event_time_ms
    by_other_code.take_in(begun, lines_by_other_code(before))
    return begun


def assert_any_beginning_leads_here(ledger: Sequence[bytes], end: int) -> None:
    straight, other = folded(ledger), folded_by_other_code(ledger, Partition())
    assert lines(straight) == lines_by_other_code(other)
    assert name(straight) == by_other_code.name_of(other)
    assert lines(folded(ledger, begun_at(ledger, end))) == lines(straight)
    assert lines_by_other_code(folded_by_other_code(ledger, begun_by_other_code(ledger, end), end)) == lines(straight)


def name(one: LedgerState) -> str:
    return list_of(part.name for part in cut(state.lines_of(one.fold.watermark_ms, one.counted, one.rows))).name


@settings(max_examples=80)
@given(data=traffic(), partitions=st.integers(1, 2), plan=moves(), draw=st.data())
def test_what_learn_has_stored_is_what_any_fold_comes_to_from_any_beginning(
    data: Traffic, partitions: int, plan: list[Move], draw: Any
) -> None:
    worker = asyncio.run(begun(data, partitions, plan))
    for number in range(partitions):
        moment = worker.tables["learn"].partition(number)
        read = stored_fold(moment).position
        ledger = [record.value for record in worker.broker.logs[topics.REWARDS, number]][:read]
        assert b"".join(stored_lines(moment)) == lines(folded(ledger))
        assert_any_beginning_leads_here(ledger, draw.draw(st.integers(0, read)))


async def begun(data: Traffic, partitions: int, plan: list[Move]) -> Worker:
    """Play a plan and leave what is open open; publishing plays no part."""
    worker = Worker(data, partitions)
    for move in plan:
        if move.what not in (PUBLISH, DIRECT):
            await worker.play(move)
    for number in range(partitions):
        await worker.read(topics.REWARDS, number, 50)
    return worker


POLICIES = {
    "rates": plain_policy(**HOW),
    "contexts": linear_policy(**HOW),
    "delays": plain_policy(settle="delay_corrected", statistics={"bucket": "1s"}),
    "groups": ensemble_policy(**HOW),
    "importance": exp3_policy(settle="optimistic"),
}


@pytest.mark.parametrize("kind", POLICIES)
def test_any_beginning_leads_to_the_same_whatever_is_counted_beside_the_sums(kind):
    for ledger in played(POLICIES[kind]):
        for end in range(0, len(ledger) + 1, 5):
            assert_any_beginning_leads_here(ledger, end)


some_lines = st.lists(
    st.binary(min_size=1, max_size=40).map(lambda text: text.replace(b"\n", b"") + b"\n"), max_size=60
)


@given(made=some_lines)
def test_parts_are_the_lines_cut_and_named_by_their_content(made):
    parts = list(cut(made))
    assert b"".join(part.content for part in parts) == b"".join(made)
    assert all(part == part_of(part.content) for part in parts)


def test_a_line_that_changes_leaves_parts_far_from_it_as_they_were():
    many = [b'["e","action-%d",4611686018427387904]\n' % number for number in range(200_000)]
    before = {part.name for part in cut(many)}
    # 8 MB of lines are about a hundred parts; a change moves the ends next to it.
    assert 60 < len(before) < 200
    changed = {part.name for part in cut([*many[:90_000], b'["e","another",1]\n', *many[90_000:]])}
    assert len(changed - before) <= 3
    assert max(len(part.content) for part in cut(many)) <= 1 << 20


def without_tallies(patch: pytest.MonkeyPatch) -> None:
    right = state.open_line
    patch.setattr(state, "open_line", lambda action, counted: right(action, counted._replace(tallies=())))


def expired_ones_too(patch: pytest.MonkeyPatch) -> None:
    right = state.lines_of
    patch.setattr(state, "lines_of", lambda _event_time_ms, *rest: right(-1, *rest))


def nobody_is_erased(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state, "erased_line", lambda *_: b"")


def rewards_of_open_ones_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = state.open_line
    patch.setattr(state, "open_line", lambda action, counted: right(action, counted._replace(reward=0)))


def rows_without_reward_left_out(patch: pytest.MonkeyPatch) -> None:
    right = state.sums_line
    patch.setattr(state, "sums_line", lambda key, row: right(key, row) if row.sums[1] else b"")


def parts_cut_elsewhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("pipeline.checkpoint.parts.LEAST_BYTES", 2)
    patch.setattr("pipeline.checkpoint.parts.MEAN_BYTES", 64)


MUTANTS = {
    "tallies of open actions are left out": (without_tallies, exp3_policy(settle="optimistic")),
    "expired actions stay": (expired_ones_too, plain_policy(**HOW)),
    "who is erased is forgotten": (nobody_is_erased, plain_policy(**HOW)),
    "what open actions earned is forgotten": (rewards_of_open_ones_forgotten, plain_policy(**HOW)),
    "rows without a reward are left out": (rows_without_reward_left_out, plain_policy(**HOW)),
    "parts are cut elsewhere": (parts_cut_elsewhere, plain_policy(**HOW)),
}


@pytest.mark.parametrize("fault", MUTANTS)
def test_a_fault_in_how_checkpoints_are_written_is_seen_by_other_code(fault, monkeypatch):
    apply, policy = MUTANTS[fault]
    ledgers = played(policy)
    right = [name(folded(ledger)) for ledger in ledgers]
    other = [by_other_code.name_of(folded_by_other_code(ledger, Partition())) for ledger in ledgers]
    assert right == other
    apply(monkeypatch)
    assert [name(folded(ledger)) for ledger in ledgers] != other
