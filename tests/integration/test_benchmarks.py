"""The benchmarks in a size for tests: each ends in a check that what it measured was right. No time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.report import read
from tests.open_bandit import uniform_rows, write_rows


def rows_of(suite: str, out: Path, *options: str) -> list[str]:
    result = CliRunner().invoke(main, [suite, "--smoke", "--out", str(out), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [row.name for row in read(out)[suite]]


def test_the_hot_functions(tmp_path):
    assert any(name.startswith("join step") for name in rows_of("micro", tmp_path))


@pytest.mark.parametrize("suite", ["growth", "publish", "cluster", "attacks", "monitors"])
def test_suites_without_kafka(suite, tmp_path):
    assert rows_of(suite, tmp_path)


def test_faults_that_stages_and_verify_have_in_common_are_seen_by_other_code_through_the_command_line(tmp_path):
    told = rows_of("proof", tmp_path)
    assert sum(row.startswith("2,000 actions: ") for row in told) == 17


def test_a_log_that_a_worker_played_is_proven_and_ten_faults_in_it_are_seen(tmp_path):
    # Eight days, so that what is a day old is told from what is two.
    log = write_rows(tmp_path / "women", uniform_rows(200, [0.2, 0.5], seed=3), apart_s=3_600)
    told = rows_of("proof", tmp_path, "--log", str(log))
    assert sum(row.startswith("Open Bandit: ") for row in told) == 10


@pytest.mark.kafka
@pytest.mark.parametrize(
    "suite",
    [
        pytest.param("pipeline", marks=pytest.mark.faults),
        "freshness",
        pytest.param("recovery", marks=pytest.mark.faults),
        "serving",
    ],
)
def test_suites_on_kafka(suite, tmp_path):
    assert rows_of(suite, tmp_path)
