"""`pipeline doctor --fix` where brokers tell of a change a moment after it is made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.doctor.checks import Change, Finding

CHANGE = Change("rewards", "retention.ms", "-1")
LATE = Finding("fail", "topic rewards", "retention.ms = 604800000", "-1", "pipeline doctor --fix", CHANGE)
TOLD = Finding("ok", "topic rewards", "as it must be")


def play(monkeypatch: pytest.MonkeyPatch, looks: Iterator[Finding]) -> tuple[int, str]:
    monkeypatch.setattr("pipeline.cli.doctor.look", lambda *_: [next(looks)])
    monkeypatch.setattr("pipeline.cli.doctor._fix", lambda *_, **__: None)
    result = CliRunner().invoke(cli, ["doctor", "--fix", "--yes", "--broker", "127.0.0.1:9"])
    return result.exit_code, result.output


def test_what_a_broker_tells_of_late_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = play(monkeypatch, iter([LATE, LATE, LATE, TOLD]))
    assert (code, "as it must be" in said, "604800000" in said) == (0, True, False)


def test_what_no_broker_tells_of_is_said_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.doctor.TOLD_WITHIN_S", 0.0)
    code, said = play(monkeypatch, iter([LATE, LATE]))
    assert (code, "604800000" in said) == (1, True)
