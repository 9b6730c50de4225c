"""The table's double, on which all of JOIN, LEARN and PUBLISH is tested, does what RocksDB does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import rocksdict
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stream.state.tables import PROGRESS, ROW, Database, PartitionRows, due_key
from tests.doubles import MemoryRows

ids = st.sampled_from([b"", b"a", b"aa", b"b", b"\xff", "ö".encode()])
times = st.sampled_from([0, 1, 2, 255, 256, 2**40, 2**62])
keys = st.builds(lambda prefix, row_id: prefix + row_id, st.sampled_from([ROW, b"c", b"e", PROGRESS]), ids)
rows = st.dictionaries(keys, st.one_of(st.none(), st.sampled_from([b"", b"1", bytes(300)])), max_size=4)
index = st.lists(st.tuples(st.builds(due_key, times, ids), st.booleans()), max_size=4)
doings = st.lists(
    st.one_of(
        st.tuples(st.just("write"), rows, index),
        st.tuples(st.just("due"), times, st.integers(1, 4)),
        st.tuples(st.just("due"), st.just(-1), st.just(3)),
        st.tuples(st.just("get"), st.lists(keys, max_size=4), st.just(None)),
        st.tuples(st.just("scan"), st.sampled_from([ROW, b"c", b"e", b"x"]), st.just(None)),
    ),
    max_size=30,
)


def answer(table: Any, what: str, first: Any, second: Any, offset: int) -> Any:
    match what:
        case "write":
            return table.write(first, offset, second)
        case "due":
            return table.due(first, second)
        case "get":
            return table.get_many(first), [table.get(key) for key in first]
        case "scan":
            return list(table.scan(first))


@settings(max_examples=60)
@given(doings=doings)
def test_rocksdb_and_its_double_answer_alike(doings: list[tuple[str, Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "db", rocksdict.Cache(1 << 20))
        real, double = PartitionRows(database, 0, "changelog"), MemoryRows(0, "changelog")
        for offset, (what, first, second) in enumerate(doings):
            assert answer(real, what, first, second, offset) == answer(double, what, first, second, offset)
        database.close()
