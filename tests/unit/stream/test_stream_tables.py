from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import rocksdict

from pipeline.stream.state.tables import Database, PartitionRows, due_key


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


def record(offset: int, key: bytes, value: bytes | None) -> SimpleNamespace:
    return SimpleNamespace(offset=offset, key=key, value=value)


@pytest.fixture
def indexed(tmp_path):
    database = Database(tmp_path / "indexed", rocksdict.Cache(1 << 20))
    yield PartitionRows(database, 0, "changelog", int)
    database.close()


def test_restoring_takes_the_last_of_each_key_and_begins_in_the_middle_of_a_batch(indexed):
    """The broker gives whole batches: what is below the start is in already, and would bring back what is gone."""
    batches = [
        [record(3, b"rgone", b"30"), record(4, b"ra", b"10"), record(5, b"rb", b"20")],
        [record(7, b"ra", b"15"), record(8, b"rb", None), record(9, b"s", b"progress")],
    ]
    prepared = indexed.prepare(batches, 4)
    assert (prepared.records, prepared.offset) == (5, 9)
    indexed.begin_restoring()
    indexed.restore(prepared)
    indexed.end_restoring()
    assert list(indexed.scan(b"r")) == [(b"ra", b"15")]
    assert indexed.due(100, 10) == [(15, b"a")]
    assert (indexed.get(b"s"), indexed.end().offset) == (b"progress", 9)


def test_a_fetch_of_what_is_in_already_writes_nothing(indexed):
    prepared = indexed.prepare([[record(3, b"ra", b"10")]], 4)
    indexed.restore(prepared)
    assert (prepared.records, indexed.end().offset) == (0, -1)


WRITES_AND_IS_KILLED = """
import os, signal, sys
from pathlib import Path
import rocksdict
from pipeline.stream.state.tables import Database, PartitionRows
database = Database(Path(sys.argv[1]), rocksdict.Cache(1 << 20))
rows = PartitionRows(database, 0, "changelog", flush_after_s=60.0 if sys.argv[2] == "yes" else None)
for offset in range(60):
    rows.write({b"r%d" % offset: os.urandom(1 << 20)}, offset, ())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("has_changelog", "lost_at_least"), [("yes", 1), ("no", 0)])
def test_after_kill_nine_a_database_holds_a_prefix_of_its_writes_and_without_a_changelog_all_of_them(
    tmp_path: Path, has_changelog: str, lost_at_least: int
) -> None:
    """Of 60 MiB at most what was in two write buffers of 16 MiB is missing, and the end says so."""
    path = tmp_path / "killed"
    ended = subprocess.run([sys.executable, "-c", WRITES_AND_IS_KILLED, str(path), has_changelog], check=False)
    assert ended.returncode == -signal.SIGKILL
    database = Database(path, rocksdict.Cache(1 << 20))
    rows = PartitionRows(database, 0, "changelog")
    there = [key for key, _ in rows.scan(b"r")]
    end = rows.end().offset
    database.close()
    assert sorted(there) == sorted(b"r%d" % offset for offset in range(end + 1))
    # 60 - 48: two full buffers wait to be written, the third is being filled.
    assert 12 <= len(there) <= 60 - lost_at_least


def test_rows_at_once_are_those_of_one_moment_whatever_is_written_or_closed_since(tmp_path):
    database = Database(tmp_path / "moment", rocksdict.Cache(1 << 20))
    rows = PartitionRows(database, 0, "changelog")
    rows.write({b"ra": b"1", b"rb": b"2", b"s": b"progress"}, 3, [(due_key(7, b"a"), True)])
    moment = rows.moment()
    rows.write({b"ra": b"other", b"rb": None, b"rc": b"3"}, 4, [(due_key(7, b"a"), False)])
    assert [moment.get(key) for key in (b"ra", b"rb", b"rc", b"s", b"r", b"zz")] == [
        b"1",
        b"2",
        None,
        b"progress",
        None,
        None,
    ]
    scanned = moment.scan(b"r")
    assert next(scanned) == (b"ra", b"1")
    database.close()
    assert list(scanned) == [(b"rb", b"2")]
    assert list(moment.scan(b"d")) == [(due_key(7, b"a"), b"")]
    assert list(moment.scan(b"c")) == []
