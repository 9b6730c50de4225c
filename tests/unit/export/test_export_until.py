"""An export up to where an earlier one has read, or a refusal that says why not."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.errors import ConfigError
from pipeline.export.until import Log, read_as_of

PRESENT = Log("id-1", {0: 10, 1: 20})


def told(folder: Path, content: bytes) -> Path:
    path = folder / "_export.json"
    path.write_bytes(content)
    return path


def told_of(folder: Path, log: Log) -> Path:
    return told(folder, orjson.dumps({"rewards": log.plain()}))


def test_it_reads_up_to_where_the_earlier_one_has(tmp_path):
    earlier = Log("id-1", {0: 7, 1: 20})
    assert read_as_of(told_of(tmp_path, earlier), PRESENT) == earlier


@pytest.mark.parametrize(
    ("earlier", "fault"),
    [
        (Log("id-0", {0: 7}), "is another one now"),
        (Log("id-1", {0: 7, 2: 1}), r"does not have: \[2\]"),
        (Log("id-1", {0: 11, 1: 20}), "partition 0 ends at 10, 11 was read"),
    ],
)
def test_another_log_is_refused(tmp_path, earlier, fault):
    with pytest.raises(ConfigError, match=fault):
        read_as_of(told_of(tmp_path, earlier), PRESENT)


NO_EXPORTS = (b"", b"[]", b"{}", b'{"rewards": 3}', b'{"rewards": {"topic_id": "", "ends": {"x": 1}}}')


@pytest.mark.parametrize("content", NO_EXPORTS)
def test_what_is_no_export_is_refused(tmp_path, content):
    with pytest.raises(ConfigError, match=r"is no export's _export\.json"):
        read_as_of(told(tmp_path, content), PRESENT)
