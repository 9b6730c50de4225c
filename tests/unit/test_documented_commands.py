"""Every command that a page mentions is there, with its options; every block is of a kind that is looked at."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from pipeline.cli import COMMANDS, cli
from tests.harness.pages import (
    OTHERS,
    SHELLS,
    TOP,
    Told,
    blocks,
    check_options,
    check_target,
    language,
    mentioned,
    name_of,
    pages,
    typed,
    words_of,
)

ALL = pages()


def check(told: Told) -> None:
    """Look whether there is such a command."""
    words = words_of(told.text)
    match words:
        case [first, *_] if first == "pipeline" or first.endswith("/pipeline"):
            check_options(told.text)
        case ["python", "-m", "benchmarks", *_]:
            check_options(told.text)
        case ["make", *_]:
            check_target(told.text)
        case ["pytest", *rest]:
            assert all((TOP / word).exists() for word in rest if word.startswith("tests/"))


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_what_a_page_mentions_is_there(page: Path):
    for told in [*mentioned(page), *typed(page)]:
        try:
            check(told)
        except (click.ClickException, AssertionError) as error:
            pytest.fail(f"{told}: {getattr(error, 'message', error)}", pytrace=False)


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_a_block_is_of_a_known_kind(page: Path):
    for block in blocks(page):
        assert language(block) in SHELLS + OTHERS, f"{name_of(page)}:{block.map}: {block.info!r}"
        if language(block) == "":
            assert not any(line.strip().startswith(("$ ", "pipeline ", "curl ")) for line in block.content.splitlines())


def test_a_wrong_command_is_seen():
    for text in ("pipeline serv", "pipeline serve --prot 1", "pipeline policy aply x", "pipeline doctor --role wrker"):
        with pytest.raises(click.UsageError):
            check_options(text)


def examples() -> list[str]:
    """Return what every command's own help shows."""
    found = []

    def walk(command: click.Command) -> None:
        lines = re.split("Examples?:", command.help or "", maxsplit=1)[-1].splitlines()
        found.extend(line.strip() for line in lines if line.strip().startswith("pipeline "))
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                inner = command.get_command(click.Context(command), name)
                assert inner is not None
                walk(inner)

    walk(cli)
    return found


@pytest.mark.parametrize("text", examples())
def test_an_example_of_a_help_page_is_a_command(text: str):
    check_options(text)


def test_every_command_shows_an_example():
    assert {text.split()[1] for text in examples()} == set(COMMANDS)
