"""What of a fetch's bytes counts, and which offsets it covers."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

from pipeline.codec.unreadable import Unreadable
from pipeline.stream import record_batches
from pipeline.stream.log.fetch import content_of, unpack
from tests.kafka_log import ABORT, COMMIT, Read, batch, compacted, marker

A, B = 7, 8
"""Producers."""


def values(raw: bytes, start: int, *aborted: tuple[int, int]) -> tuple[list[bytes | None], int]:
    content = content_of(raw, start, aborted)
    return [record.value for record in unpack(deque(content.batches), start)], content.resume_offset


def test_markers_are_covered_and_hold_no_record():
    raw = batch(0, b"r", producer=A, is_transactional=True) + marker(1, A, COMMIT)
    assert values(raw, 0) == ([b"r"], 2)


def test_a_fetch_of_markers_alone_covers_them():
    assert values(marker(5, A, COMMIT) + marker(6, B, ABORT), 5, (B, 3)) == ([], 7)


def test_what_was_aborted_never_happened_and_what_others_wrote_among_it_did():
    """
    offset   0   1   2   3   4   5
             a   b   a   A   C   a     of A and B: A's first is aborted, B's committed, A's second plain
    """
    raw = b"".join(
        [
            batch(0, b"a0", producer=A, is_transactional=True),
            batch(1, b"b1", producer=B, is_transactional=True),
            batch(2, b"a2", producer=A, is_transactional=True),
            marker(3, A, ABORT),
            marker(4, B, COMMIT),
            batch(5, b"a5", producer=A, is_transactional=True),
        ]
    )
    assert values(raw, 0, (A, 0)) == ([b"b1", b"a5"], 6)


def test_a_transaction_that_was_aborted_began_before_the_fetch():
    raw = batch(4, b"x", producer=A, is_transactional=True) + marker(5, A, ABORT)
    assert values(raw, 4, (A, 1)) == ([], 6)


def test_an_idempotent_producer_s_records_are_no_transaction_s():
    assert values(batch(4, b"r", producer=A), 4, (A, 1)) == ([b"r"], 5)


def test_offsets_that_compaction_has_emptied_are_covered():
    """
    offset   0   1   2   3   4 … 9
             r   ·   ·   ·   r        1 to 3 are the end of the first batch, 5 to 9 that of the second
    """
    assert values(compacted(batch(0, b"r"), 3) + compacted(batch(4, b"r"), 9), 0) == ([b"r", b"r"], 10)


def test_a_batch_that_begins_before_what_was_asked_for_is_taken_from_there():
    assert values(batch(3, b"a", b"b", None), 4) == ([b"b", None], 6)


def test_a_batch_that_is_cut_off_is_left_to_the_next_fetch():
    whole, cut = batch(0, b"r"), batch(1, b"r")[:-1]
    assert values(whole + cut, 0) == ([b"r"], 1)


def test_a_damaged_batch_is_read_as_what_is_wrong_with_each_of_its_offsets():
    raw = bytearray(batch(0, b"a", b"b"))
    raw[-1] ^= 1
    found, resume_offset = values(bytes(raw) + batch(2, b"r"), 0)
    assert [type(value) for value in found] == [Unreadable, Unreadable, bytes]
    assert resume_offset == 3


def test_what_unpacks_to_too_much_is_taken_piece_by_piece(monkeypatch):
    monkeypatch.setattr(record_batches, "ANSWER_BYTES", 10)
    waiting = deque(Read([SimpleNamespace(offset=offset)], unpacked_bytes=6) for offset in range(5))
    taken = []
    while waiting:
        taken.append([record.offset for record in unpack(waiting, 0)])
    assert taken == [[0, 1], [2, 3], [4]]
