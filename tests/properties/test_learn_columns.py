"""A batch of the ledger folded in columns is the same batch folded record by record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec import avro
from pipeline.learn.columns import fold_piece, read_piece
from pipeline.learn.ledger import fold_ledger, ledger_record, merge_deltas
from pipeline.learn.memory import Counted, FoldState, RowKey, counted_from_bytes

TALLY = {"row": "delays", "width": 4, "column": 1, "amount": 3}
# Few values of each, so that actions, revisions and expiries meet.
RECORDS = st.fixed_dictionaries(
    {
        "action_id": st.sampled_from(["x", "y", "z", "ö"]),
        "revision": st.integers(1, 3),
        "is_settled": st.booleans(),
        "policy": st.just("homepage"),
        "generation": st.just(1),
        "segment": st.just("new"),
        "arm": st.sampled_from(["a", "a", "a", "b"]),
        "reward": st.integers(-2, 2),
        "reward_exponent": st.just(15),
        "context_vector": st.sampled_from([b"\1\0", b"\1\0", b"\1\0", b"\2\0"]),
        "decided_at_ms": st.just(5),
        "bucket": st.just(0),
        # Others of the same action are of an id that came again.
        "expires_at_ms": st.sampled_from([90, 100, 100, 150]),
        "event_time_ms": st.sampled_from([10, 20, 20, 30, 99, 100, 101]),
        "attribution": st.just(""),
        "outcomes": st.just([]),
        "decision": st.just(b"d"),
        "is_erased": st.sampled_from([False] * 9 + [True]),
        "is_reward_final": st.sampled_from([False] * 5 + [True]),
        "tallies": st.sampled_from([[]] * 9 + [[TALLY]]),
        "is_analysis": st.sampled_from([False] * 9 + [True]),
        "undecodable": st.sampled_from([""] * 9 + ["missing-feature"]),
    }
)


def deltas_of(fold: Any) -> dict[RowKey, list[int]]:
    """The changes that are any."""
    return {key: row.sums.tolist() for key, row in fold.deltas.items() if any(row.sums.tolist())}


def cut(records: Sequence[Any], lengths: Sequence[int]) -> Iterator[Sequence[Any]]:
    for length in lengths:
        if records[:length]:
            yield records[:length]
        records = records[length:]
    if records:
        yield records


@settings(max_examples=400)
@given(st.lists(RECORDS, max_size=25), st.lists(st.integers(1, 8), max_size=6))
def test_columns_give_what_the_fold_gives(records, lengths):
    remembered: dict[bytes, bytes] = {}
    gone: dict[bytes, bytes] = {}
    state, state_one_by_one = FoldState(), FoldState()
    for batch in cut(list(enumerate(records)), lengths):
        piece = read_piece([(offset, avro.encode("reward", record)) for offset, record in batch])
        ids = piece.action_ids
        known = {one.decode(): counted_from_bytes(value) for one, value in (remembered | gone).items()}
        expected = fold_ledger([ledger_record(offset, record) for offset, record in batch], known, state_one_by_one)

        stored_gone = [gone.get(one) for one in ids] if gone else ()
        done = fold_piece(piece, [remembered.get(one) for one in ids], stored_gone, state)

        counted = {one.encode(): value.to_bytes() for one, value in done.fold.counted.items()}
        counted |= dict(zip(done.action_ids, done.counted, strict=True))
        assert counted == {one.encode(): value.to_bytes() for one, value in expected.counted.items()}
        assert [counted_from_bytes(value).expires_at_ms for value in done.counted] == done.expires_at_ms
        assert deltas_of(done.fold) == deltas_of(expected)
        assert state == state_one_by_one
        left = {(was.expires_at_ms, one) for one, was in known.items() if not was.is_erased and one in expected.counted}
        assert set(done.left_due) == {
            (was_ms, one.encode()) for was_ms, one in left if expected.counted[one].expires_at_ms != was_ms
        }
        for one, value in counted.items():
            (gone if counted_from_bytes(value).is_erased else remembered)[one] = value


@settings(max_examples=400)
@given(st.lists(RECORDS, max_size=25), st.lists(st.integers(0, 3), min_size=25, max_size=25))
def test_when_what_has_expired_is_forgotten_changes_nothing(records, patience):
    """LEARN forgets late or early, a replay never: an id that comes again is the same action to both, or another."""
    sums: list[dict[RowKey, list[int]]] = []
    for forgets in (True, False):
        remembered: dict[str, Counted] = {}
        state, rows = FoldState(), {}
        for offset, record in enumerate(records):
            fields = record | ({"revision": 1 << 62} if record["is_erased"] else {})
            done = fold_ledger([ledger_record(offset, fields)], remembered, state)
            merge_deltas(rows, done.deltas.items())
            remembered |= done.counted
            if forgets and patience[offset] == 0:
                remembered = {one: was for one, was in remembered.items() if was.expires_at_ms >= state.watermark_ms}
        sums.append({key: row.sums.tolist() for key, row in rows.items() if any(row.sums.tolist())})
    assert sums[0] == sums[1]
