from __future__ import annotations

from typing import Any

import pytest

from pipeline.codec.revisions import Revisions
from pipeline.errors import StateError

DECISION = b'{"action_id":"x"}'


def record(revision: int, outcomes: str, before: int = -1, **others: Any) -> dict[str, Any]:
    """A record of action x that tells of outcomes named by a letter each."""
    told = {
        "action_id": "x",
        "revision": revision,
        "outcomes": list(outcomes),
        "outcomes_before": before,
        "decision": DECISION if before == -1 else b"",
        "is_erased": False,
        "expires_at_ms": 100,
        "event_time_ms": 10,
    }
    return told | others


def whole(revisions: Revisions, *records: dict[str, Any]) -> list[str | None]:
    found = [revisions.whole(one) for one in records]
    assert all(one is None or one["is_erased"] or one["decision"] == DECISION for one in found)
    assert all(one is None or one["outcomes_before"] == -1 for one in found)
    return [None if one is None else "".join(one["outcomes"]) for one in found]


def test_an_increment_tells_with_what_was_told_before_everything():
    told = [record(1, ""), record(2, "a", 0), record(4, "bc", 1), record(5, "abc"), record(6, "d", 3)]
    assert whole(Revisions(), *told) == ["", "a", "abc", "abc", "abcd"]


def test_what_a_crash_has_done_again_stands_in_the_place_of_what_was_lost():
    """b and c were told in one step that was lost; again, c comes first, b is refused, and d comes."""
    told = [record(1, ""), record(2, "a", 0), record(4, "bc", 1), record(3, "c", 1), record(4, "d", 2)]
    assert whole(Revisions(), *told) == ["", "a", "abc", "ac", "acd"]


def test_what_comes_behind_an_erasure_after_a_crash_still_goes_on_from_what_was_told():
    told = [record(2, "a"), record(1 << 62, "", is_erased=True, decision=b""), record(3, "b", 1)]
    assert whole(Revisions(), *told) == ["a", "", "ab"]


def test_an_id_that_comes_again_is_another_action():
    told = [record(2, "a"), record(1, "", expires_at_ms=300, event_time_ms=150), record(2, "b", 0, expires_at_ms=300)]
    revisions = Revisions()
    assert whole(revisions, *told) == ["a", "", "b"]
    assert len(revisions) == 1


@pytest.mark.parametrize("told", [[], [record(2, "a")]])
def test_a_ledger_that_lacks_what_an_increment_goes_on_from_is_refused(told):
    revisions = Revisions()
    whole(revisions, *told)
    with pytest.raises(StateError, match=f"goes on from 2 outcomes, of which the records before it tell {len(told)}"):
        revisions.whole(record(4, "c", 2))


def test_what_is_over_is_let_go_and_a_repeat_of_it_is_passed_over():
    revisions = Revisions()
    others = [record(1, "", action_id=str(n), event_time_ms=n, expires_at_ms=n + 100) for n in range(1_000)]
    for one in others:
        revisions.whole(one)
    # At 999 what is over at 999 may still be revised: 899, which is over then, to 999.
    assert len(revisions) == 101
    assert whole(revisions, record(2, "a", 0, action_id="3", expires_at_ms=103)) == [None]
