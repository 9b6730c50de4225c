from __future__ import annotations

import pytest
import rocksdict

from pipeline.stream.state import Database, PartitionRows, due_key


@pytest.fixture
def rows(tmp_path):
    database = Database(tmp_path / "db", rocksdict.Cache(1 << 20))
    yield PartitionRows(database, 0, "changelog")
    database.close()


def write(rows, entries) -> None:
    rows.write({}, 0, [(due_key(due_ms, row_id), is_there) for due_ms, row_id, is_there in entries])


def test_due_entries_come_in_order_of_time_up_to_and_including_the_limit(rows):
    write(rows, [(30, b"c", True), (10, b"a", True), (20, b"b", True)])
    assert rows.due(20, 10) == [(10, b"a"), (20, b"b")]
    assert rows.due(30, 2) == [(10, b"a"), (20, b"b")]


def test_an_entry_earlier_than_all_that_were_removed_is_found(rows):
    write(rows, [(10, b"a", True)])
    assert rows.due(50, 10) == [(10, b"a")]
    write(rows, [(10, b"a", False)])
    assert rows.due(50, 10) == []
    write(rows, [(5, b"late", True), (60, b"z", True)])
    assert rows.due(55, 10) == [(5, b"late")]
    write(rows, [(5, b"late", False)])
    assert rows.due(70, 10) == [(60, b"z")]


def test_looking_far_ahead_and_finding_nothing_hides_no_later_entry(rows):
    assert rows.due(2**62, 1) == []
    write(rows, [(7, b"a", True)])
    assert rows.due(7, 1) == [(7, b"a")]


def test_rows_are_no_due_entries(rows):
    rows.write({b"r" + b"x": b"row", b"s": b"progress"}, 3, [])
    assert rows.due(2**62, 10) == []
    assert rows.get_many([b"rx", b"ry"]) == [b"row", None]
    assert list(rows.scan(b"r")) == [(b"rx", b"row")]
