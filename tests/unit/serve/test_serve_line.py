from __future__ import annotations

import pytest

from pipeline.serve.following.line import Line, Link, Verdict

pytestmark = pytest.mark.attack
NEXT, KNOWN, STRANGE = Verdict.NEXT, Verdict.KNOWN, Verdict.STRANGE


def sound(version: int) -> Link:
    return Link(version, f"id-{version - 1}", f"id-{version}")


def forged(version: int, parent: str = "made-up") -> Link:
    return Link(version, parent, f"forged-{version}")


def verdicts(line: Line, *links: Link) -> list[Verdict]:
    return [line.take(link) for link in links]


def test_what_does_not_name_the_last_one_is_strange_whatever_its_number() -> None:
    line = Line()
    assert verdicts(line, sound(7), sound(8), forged(10**9), forged(9), forged(9, "")) == [NEXT, NEXT, *[STRANGE] * 3]
    assert line.take(sound(9)) is NEXT


def test_a_forged_one_that_a_reading_begins_with_yields_to_what_follows_the_line() -> None:
    line = Line(confirmed=sound(8))
    line.begin()
    assert line.take(forged(10**9)) is NEXT  # compaction may have taken those between
    assert not line.is_displaced
    assert (line.take(sound(9)), line.is_displaced) == (NEXT, True)


def test_a_forged_one_that_is_the_first_ever_yields_to_two_in_a_row() -> None:
    line = Line()
    assert verdicts(line, forged(10**9), sound(8), sound(9)) == [NEXT, STRANGE, NEXT]
    assert line.is_displaced


def test_two_forged_in_a_row_do_not_move_a_line_that_was_followed_but_have_the_topic_read_again() -> None:
    line = Line()
    verdicts(line, sound(1), sound(2))
    assert verdicts(line, forged(50), forged(51, "forged-50")) == [STRANGE, STRANGE]
    assert line.may_have_missed
    assert line.take(sound(3)) is NEXT
    assert not line.may_have_missed


def test_a_reading_from_the_start_brings_nothing_new_until_the_line_goes_on() -> None:
    line = Line()
    verdicts(line, sound(1), sound(2), sound(3))
    line.begin()
    assert verdicts(line, sound(1), sound(2), sound(3), sound(4)) == [KNOWN, KNOWN, KNOWN, NEXT]


def test_what_compaction_took_while_nobody_read_is_no_gap() -> None:
    line = Line()
    verdicts(line, sound(1), sound(2))
    line.begin()
    assert verdicts(line, sound(9), sound(10)) == [NEXT, NEXT]
