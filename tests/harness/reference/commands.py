"""docs/commands.md: every command, its arguments and options, as click has them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from pipeline.cli import cli
from tests.harness.option_tables import option_row

HEAD = """# Commands

What `pipeline COMMAND --help` says, of every command in one place; this page is made of the command line.
Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 a service is away; of a worker also 70 and 75
([what to run](operate.md)). The options of `pipeline worker`, `pipeline serve` and `pipeline console` have a
[page of their own](options.md).
"""
ELSEWHERE = frozenset({"worker", "serve", "console"})

Found = tuple[str, click.Command, click.Context]


def commands() -> Iterator[Found]:
    """Yield every command that does something, by its whole name."""

    def walk(name: str, command: click.Command, parent: click.Context) -> Iterator[Found]:
        context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
        if isinstance(command, click.Group):
            for each in command.list_commands(context):
                inner = command.get_command(context, each)
                assert inner is not None
                if not inner.hidden:
                    yield from walk(f"{name} {each}", inner, context)
        else:
            yield name, command, context

    yield from walk("pipeline", cli, click.Context(cli))


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(line for each in commands() for line in _section(*each))])


def _section(name: str, command: click.Command, context: click.Context) -> Iterator[str]:
    arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
    yield f"## `{' '.join([name, *arguments])}`\n"
    text, _, example = inspect.cleandoc((command.help or "").replace("\f", "")).partition("\b\n")
    yield f"{_escaped(text.strip())}\n"
    lines = [line.strip() for line in example.splitlines() if line.strip().startswith("pipeline ")]
    if lines:
        yield "For example: " + ", ".join(f"`{line.split('  #')[0]}`" for line in lines) + ".\n"
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    if options and name.partition(" ")[2] not in ELSEWHERE:
        yield "| option | twin | default | what it says |"
        yield "|---|---|---|---|"
        yield from (option_row(each, context) for each in options)
        yield ""


def _escaped(text: str) -> str:
    return re.sub(r"([<>*])", r"\\\1", re.sub(r"\n(?!\n)", " ", text).replace("  ", "\n\n"))
