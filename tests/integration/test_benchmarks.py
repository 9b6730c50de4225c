"""The benchmarks in a size for tests: each ends in a check that what it measured was right. No time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.report import read


def rows_of(suite: str, out: Path) -> list[str]:
    result = CliRunner().invoke(main, [suite, "--smoke", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [row.name for row in read(out)[suite]]


def test_the_hot_functions(tmp_path):
    assert any(name.startswith("join step") for name in rows_of("micro", tmp_path))


@pytest.mark.parametrize("suite", ["growth", "publish", "cluster", "attacks"])
def test_suites_without_kafka(suite, tmp_path):
    assert rows_of(suite, tmp_path)


@pytest.mark.kafka
@pytest.mark.parametrize("suite", ["pipeline", "freshness", "recovery", "serving"])
def test_suites_on_kafka(suite, tmp_path):
    assert rows_of(suite, tmp_path)
