from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.demo.logged import CHUNK_MS, CHUNK_RECORDS, chunks, read_log
from pipeline.demo.open_bandit import LogRecord
from pipeline.errors import ConfigError


def records(*times_ms: int) -> list[LogRecord]:
    return [LogRecord(at_ms, "decisions", f"a{at_ms}", b"{}") for at_ms in times_ms]


def test_a_chunk_ends_before_it_is_longer_than_its_share_of_event_time() -> None:
    log = records(0, 10, CHUNK_MS, CHUNK_MS + 1, CHUNK_MS + 2)
    assert [len(chunk) for chunk in chunks(log)] == [3, 2]


def test_a_chunk_ends_when_it_is_full() -> None:
    log = records(*range(CHUNK_RECORDS + 1))
    assert [len(chunk) for chunk in chunks(log)] == [CHUNK_RECORDS, 1]


def test_chunks_hold_every_record_in_order() -> None:
    log = records(0, 1, CHUNK_MS * 2, CHUNK_MS * 5, CHUNK_MS * 5 + 1)
    assert [record for chunk in chunks(log) for record in chunk] == log


@pytest.mark.parametrize("names", [["item_context.csv"], ["item_context.csv", "men.csv", "women.csv"]])
def test_a_folder_without_exactly_one_log_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("", "utf-8")
    with pytest.raises(ConfigError, match=r"expected one CSV beside item_context\.csv"):
        read_log(tmp_path)
