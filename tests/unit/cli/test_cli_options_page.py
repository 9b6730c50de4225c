"""Every option of a worker and a node is told on docs/options.md, which is made of the command line."""

from __future__ import annotations

import click
import pytest

from pipeline.cli import cli
from tests.harness.option_tables import COMMANDS, page
from tests.harness.pages import TOP

PAGE = TOP / "docs" / "options.md"
MAKE = "python -m tests.harness.option_tables > docs/options.md"


def test_the_page_is_what_the_command_line_says():
    assert PAGE.read_text("utf-8") == page(), f"make it anew: {MAKE}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_on_it_with_its_twin(name: str):
    section = PAGE.read_text("utf-8").partition(f"## `pipeline {name}`")[2].partition("\n## ")[0]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for option in command.params:
        if not getattr(option, "hidden", False):
            assert f"`{'/'.join([*option.opts, *option.secondary_opts])}` | `{option.envvar}`" in section
            assert str(option.envvar).startswith("PIPELINE_")


def test_readme_leads_there():
    assert "(docs/options.md)" in (TOP / "README.md").read_text("utf-8")
