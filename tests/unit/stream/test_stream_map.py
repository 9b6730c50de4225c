"""The package's own page says what is in it, and the way of a batch by functions that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import pipeline.stream

PAGE = pipeline.stream.__doc__ or ""
FOLDER = Path(pipeline.stream.__file__).parent


def test_every_file_is_named():
    named = set(re.findall(r"^ *([a-z_]+)(?:\.py|/)? {2,}\S", PAGE, re.MULTILINE))
    assert {path.stem for path in FOLDER.rglob("*.py")} - {"__init__"} <= named


@pytest.mark.parametrize(("path", "name"), re.findall(r"(\S+/\S+)\.py +([A-Z]\w+(?:\.\w+)?|[a-z]+_\w+)", PAGE))
def test_the_way_of_a_batch_is_told_by_what_is_there(path, name):
    where = importlib.import_module(f"pipeline.stream.{path.replace('/', '.')}")
    for part in name.split("."):
        assert hasattr(where, part) or any(
            hasattr(kind, part) for kind in vars(where).values() if isinstance(kind, type)
        )
        where = getattr(where, part, where)


def test_a_batch_has_ten_steps():
    assert len(re.findall(r"^ +\d+  \S", PAGE, re.MULTILINE)) == 10
