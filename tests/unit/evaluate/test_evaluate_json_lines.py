from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.json_lines import is_json_lines, read_json_lines


def test_each_object_has_the_number_of_its_line_however_the_file_begins():
    for beginning in (b"", b"\xef\xbb\xbf"):
        raw = beginning + b'\r\n\n{"a": 1}\r\n \n{"a": 2}'
        assert is_json_lines(raw)
        assert list(read_json_lines(raw, "log")) == [(3, {"a": 1}), (5, {"a": 2})]
    assert not is_json_lines(b"\xef\xbb\xbfarm,reward\n")


@pytest.mark.parametrize(
    ("line", "fault"), [(b'{"a": NaN}', "line 3 is not JSON"), (b"[1]", "line 3 is .*, expected an object")]
)
def test_a_line_that_is_no_object_is_named(line: bytes, fault: str):
    with pytest.raises(ConfigError, match=fault):
        list(read_json_lines(b'\n{"a": 1}\n' + line, "log"))
