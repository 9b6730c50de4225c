from __future__ import annotations

from itertools import permutations

import pytest

from pipeline.errors import StateError
from pipeline.join.row import ActionRow, AwaitingOutcome, OutcomeFact
from pipeline.join.stored_row import due_of, row_from_bytes, row_to_bytes

CLICK = OutcomeFact("click", 1.0, 5, 0)


def decided(**others) -> ActionRow:
    return ActionRow(
        due_ms=10,
        raw=b"\xc3\x01 the record",
        vector=b"\x00\x10",
        policy="homepage",
        generation=1,
        segment="ä",
        arm="a",
        decided_at_ms=0,
        close_ms=10,
        expires_ms=15,
        **others,
    )


@pytest.mark.parametrize("propensity", [0.0, 1 / 3, 1e-300])
def test_a_stored_row_is_read_back_and_knows_when_it_was_due(propensity):
    row = decided(is_settled=True, outcomes={"o": CLICK}, propensity=propensity)
    again = row_from_bytes(row_to_bytes(row), "x")
    assert again.stored_due_ms == 10
    again.stored_due_ms = None
    assert again == row


def test_an_awaiting_outcome_keeps_every_byte_of_its_record():
    every = bytes(range(256))
    first = AwaitingOutcome("o", "click", 1.0, 5, 0, 6, b"key", every)
    row = ActionRow(due_ms=7, awaiting=[first, first._replace(key=None, raw=b"{}"), first._replace(key=b"", raw=b"")])
    again = row_from_bytes(row_to_bytes(row), "x")
    assert not again.has_decision
    assert again.awaiting == row.awaiting


def test_a_stored_row_is_never_larger_than_its_bound():
    worst = "\x01" * 256  # of six bytes each in JSON
    outcomes = {f"{n}{worst}"[:256]: CLICK._replace(kind=worst, occurred_at_ms=2**47, offset=2**62) for n in range(3)}
    awaiting = [AwaitingOutcome(worst, worst, 1e300, 2**47, 2**62, 2**47, b"a" * 999, b"b" * 999)]
    name = "x" * 64
    for row in (
        decided(outcomes=outcomes),
        ActionRow(2**62, awaiting=awaiting, policy=name, segment=name, arm=name, raw=b"r" * 99, vector=b"v" * 99),
    ):
        assert len(row_to_bytes(row)) <= row.bound_bytes


@pytest.mark.parametrize("due_ms", [0, 1, 2**62])
def test_the_due_time_is_read_without_the_rest(due_ms):
    assert due_of(row_to_bytes(ActionRow(due_ms=due_ms))) == due_ms


def test_the_revision_counts_facts_so_every_order_of_them_ends_at_the_highest():
    for facts in permutations(["o1", "o2", "settled"]):
        row, revisions = decided(), [1]
        for fact in facts:
            if fact == "settled":
                row.is_settled = True
            else:
                row.outcomes[fact] = CLICK
            revisions.append(row.revision)
        assert revisions == [1, 2, 3, 4]


def test_a_row_of_an_unknown_version_stops_the_worker():
    stored = bytearray(row_to_bytes(decided()))
    stored[0] = 10
    with pytest.raises(StateError, match="version 10, this code reads 1 to 9"):
        row_from_bytes(bytes(stored), "x")
