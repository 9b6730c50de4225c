from __future__ import annotations

import click
import pytest

from pipeline.cli import cli
from pipeline.cli.options import Moment


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1577836800000", 1_577_836_800_000),
        # 2020-01-01 is 18,262 days after the epoch.
        ("2020-01-01", 18_262 * 86_400_000),
        ("2020-01-01T00:00:00.250Z", 18_262 * 86_400_000 + 250),
        ("2020-01-01T01:00:00+01:00", 18_262 * 86_400_000),
    ],
)
def test_a_moment_is_iso_time_or_epoch_milliseconds_and_utc_unless_it_says_so(text, at_ms):
    assert Moment().convert(text, None, None) == at_ms


def test_a_moment_that_is_neither_is_refused():
    with pytest.raises(click.BadParameter, match="'yesterday' is neither"):
        Moment().convert("yesterday", None, None)


def test_a_command_with_a_dash_in_its_name_is_found():
    context = click.Context(cli)
    command = cli.get_command(context, "dead-letters")
    assert command is not None
    assert command.name == "dead-letters"
    assert cli.get_command(context, "dead_letters") is None
