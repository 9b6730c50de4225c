"""docs/ramp.md names the figures that there are, and its conditions can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli, ramp
from pipeline.cli.ramp import BACK, PAUSE, UP, Conditions
from pipeline.policy.figure_condition import APPRENTICE_FIGURES, UNTIL, parse_condition
from pipeline.rollout.figures import FIXED, names_of

PAGE = (Path(__file__).parents[3] / "docs/ramp.md").read_text("utf-8")
NAMES = names_of(["refund", "purchase"])


def test_every_figure_is_in_the_table():
    table = set(re.findall(r"`([a-z_.]+)`", PAGE))
    assert {name.replace(".old", ".new") for name in FIXED} <= table
    assert set(APPRENTICE_FIGURES) <= table


@pytest.mark.parametrize("text", [*re.findall(r'-if "([^"]+)"', PAGE), UP, *PAUSE, *BACK])
def test_a_condition_that_is_shown_can_be_read(text: str):
    parse_condition(text, NAMES)


@pytest.mark.parametrize("text", [*re.findall(r'until = "([^"]+)"', PAGE), UNTIL])
def test_a_mark_that_is_shown_can_be_read(text: str):
    parse_condition(text, APPRENTICE_FIGURES)


def test_in_an_environment_variable_conditions_stand_apart_by_a_semicolon():
    two = ["lift.high < 0", "kind.refund.low > 0"]
    assert Conditions().split_envvar_value(";".join(two)) == two


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--every", "1h"], "--every goes with --yes"),
        (["--every", "1h", "--once", "--yes"], "without --once"),
        (["--every", "soon", "--yes"], "no duration such as 30m"),
        (["--steps", "5,all"], "no list of percents"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_broker_is_asked(arguments: list[str], said: str):
    ended = CliRunner().invoke(cli, ["policy", "ramp", "homepage-v2", "--broker", "127.0.0.1:1", *arguments])
    assert ended.exit_code == 2
    assert said in ended.output


def test_who_looks_every_hour_goes_on_when_no_broker_answers(monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ramp.time, "sleep", sleep)
    ended = CliRunner().invoke(
        cli, ["policy", "ramp", "homepage-v2", "--broker", "127.0.0.1:1", "--every", "1h", "--yes"]
    )
    assert slept == [3600.0, 3600.0]
    assert ended.output.count("not looked at, and again in 3600 s") == 2
