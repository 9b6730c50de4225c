from __future__ import annotations

from typing import Any

import pytest

from pipeline.console import versions
from pipeline.console.versions import Line


def fields(version: int, **changed: Any) -> dict[str, Any]:
    return {
        "version": version,
        "parent": "",
        "event_time_ms": 1_000 * version,
        "generation": 1,
        "definition_hash": "a",
        "rollback_of": 0,
        "posterior_sha256": "",
        "parts": [],
        "segments": [{"counts": [10 * version]}],
    } | changed


def line(*records: dict[str, Any]) -> Line:
    made = Line()
    for one in records:
        made.add(b"x" * 10 + str(one).encode(), one, 1_000 * one["version"])
    return made


def test_a_version_that_is_sent_again_is_known():
    assert [one.version for one in line(fields(1), fields(2), fields(2), fields(1)).facts] == [1, 2]


def test_what_changed_at_a_version_is_named():
    made = line(
        fields(1),
        fields(2, definition_hash="b"),
        fields(3, definition_hash="a", rollback_of=1),
        fields(4, definition_hash="a", rollback_of=1),
        fields(5, definition_hash="b"),
        fields(6, definition_hash="c", generation=2),
    )
    assert [one.change for one in made.facts] == ["", "definition", "rollback to 1", "", "unpinned", "generation 2"]


def test_records_are_bounded_by_count_and_changes_outlive_the_others():
    made = line(*(fields(n, definition_hash="b" if n >= 50 else "a") for n in range(1, 501)))
    assert len(made.records) <= versions.MAX_RECORDS
    kept = [one.facts.version for one in made.records]
    assert kept == sorted(kept)
    assert 50 in kept
    assert kept[-1] == 500
    assert made.total == 500


def test_records_are_bounded_by_size_but_the_newest_two_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(versions, "MAX_RECORD_BYTES", 100)
    made = line(*(fields(n) for n in range(1, 21)))
    assert len(made.records) == 2
    assert made.newest is not None
    assert made.newest.facts.version == 20


def test_many_changes_are_bounded_too():
    made = line(*(fields(n, definition_hash=str(n)) for n in range(1, 501)))
    assert len(made.records) <= versions.MAX_RECORDS


def test_the_rate_is_of_what_was_counted_within_a_minute():
    # One version a second counts ten rewards more: 600 a minute, over the last 61 of 100 seconds.
    assert line(*(fields(n) for n in range(1, 101))).rate_per_minute() == pytest.approx(600.0)
    assert line(fields(1)).rate_per_minute() is None
    assert line(fields(1), fields(2, rollback_of=1)).rate_per_minute() is None


def test_of_an_outline_there_are_facts_under_the_id_of_what_it_is_of_and_nothing_to_draw():
    made = line(fields(1))
    made.add(b"outline", fields(2), 2_000, id_of_outlined="whole-2")
    assert [one.id for one in made.facts][1:] == ["whole-2"]
    assert [one.facts.version for one in made.records] == [1]
    assert made.newest is not None
    assert made.newest.record == b"outline"
