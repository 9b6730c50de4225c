from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.policy.book import PolicyBook
from pipeline.policy.directive import Directive, next_number, parse_directive

PIN = Directive("homepage", 2_000, "pin", 7)


def test_a_record_is_read_as_it_was_written():
    assert parse_directive(PIN._asdict(), "policies@3") == PIN


def test_an_action_that_this_release_does_not_know_is_refused():
    with pytest.raises(ConfigError, match="'freeze' is none of rollback, pin, unpin"):
        parse_directive(PIN._asdict() | {"action": "freeze"}, "policies@3")


def test_a_number_that_would_never_be_acted_on_is_refused():
    with pytest.raises(ConfigError, match="number: 0"):
        parse_directive(PIN._asdict() | {"number": 0}, "policies@3")


def test_numbers_rise_whatever_the_clock_says():
    assert next_number(None, 1_500) == 1_500
    assert next_number(PIN, 2_500) == 2_500
    assert next_number(PIN, 1_500) == 2_001


def test_a_book_keeps_the_directive_of_the_highest_number():
    book = PolicyBook()
    assert book.directive("homepage") is None
    for directive in (PIN, Directive("homepage", 1_000, "unpin"), Directive("other", 9_000, "unpin")):
        book.put_directive(directive)
    assert book.directive("homepage") == PIN
    assert len(book) == 0
