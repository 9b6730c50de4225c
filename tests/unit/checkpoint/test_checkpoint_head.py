"""A head names a state and the head before it; a chain of them says what is missing or another."""

from __future__ import annotations

import pytest

from pipeline.checkpoint.head import Head, chain_fault, head_from, newest_below, of_log
from pipeline.errors import StateError


def heads(*offsets: int) -> list[Head]:
    made: list[Head] = []
    for offset in offsets:
        previous = made[-1].id if made else ""
        made.append(Head("ledger", 2, offset, 1_000 * offset, previous, f"{offset:064x}", 3))
    return made


def test_a_head_is_read_as_it_was_written():
    (head,) = heads(12)
    assert head_from(head.to_bytes()) == head
    assert head.key == b"head/" + head.id.encode()


def test_what_is_no_head_is_told():
    with pytest.raises(StateError, match="no checkpoint"):
        head_from(b"\xc3\x01 and more")


def test_heads_each_of_which_names_the_one_before_are_a_chain():
    assert chain_fault(heads(10, 20, 30)) == ""
    assert chain_fault([]) == ""


def test_a_head_that_is_missing_another_or_first_without_being_it_is_told():
    first, second, third = heads(10, 20, 30)
    assert "which is missing or is another" in chain_fault([first, third])
    assert "which is missing or is another" in chain_fault([first._replace(event_time_ms=1), second])
    assert "names none before it" in chain_fault([first, second, third._replace(previous="")])
    assert "lies behind" in chain_fault(
        [second._replace(previous=""), first._replace(previous=second._replace(previous="").id)]
    )
    assert third.id[:12] in chain_fault([first, third])


def test_one_beside_another_with_the_same_one_before_is_no_fault():
    first, second = heads(10, 20)
    beside = second._replace(offset=19, state="another")
    assert chain_fault([first, second, beside]) == ""
    assert chain_fault([first, first._replace(offset=9, state="another"), second]) == ""


def test_the_newest_at_or_below_an_offset_is_chosen_among_those_that_are_named():
    first, second, third = made = heads(10, 20, 30)
    every = {one.id for one in made}
    assert newest_below(made, 29, every) == second
    assert newest_below(made, 30, every) == third
    assert newest_below(made, 29, {first.id, third.id}) == first
    assert newest_below(made, 9, every) is None


def test_heads_of_another_ledger_of_another_partition_or_of_a_log_without_identity_are_not_of_this_one():
    made = heads(10, 20)
    assert of_log(made, "ledger", 2) == made
    assert of_log(made, "another ledger", 2) == []
    assert of_log(made, "ledger", 1) == []
    assert of_log([one._replace(topic_id="") for one in made], "", 2) == []
