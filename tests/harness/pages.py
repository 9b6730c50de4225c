"""The commands that the pages for people tell: of their blocks, of their tables of commands, and in their sentences.

A block's lines are to be typed, in order; so is what stands in the column `run` of a table. What a sentence mentions
may be half a command (`pipeline replay`): of that it must be true that there is such a command, with such options.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token

from benchmarks.__main__ import main as benchmarks
from pipeline.cli import cli

TOP = Path(__file__).parents[2]
SHELLS = ("sh", "bash", "console", "shell", "shell-session", "zsh")
OTHERS = ("toml", "js", "json", "python", "")
"""What else stands in blocks: nothing to type. Without a language: a drawing."""
COMMANDS = ("pipeline ", "make ", "python -m ", "docker ", "pytest ")
"""What a code span in a sentence begins with if it is a command."""


class Told(NamedTuple):
    """One command."""

    page: str
    line: int
    text: str
    """As it is written; continued lines are one."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def pages() -> list[Path]:
    """Return the pages that tell commands to people."""
    listed = (
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "benchmarks/README.md",
        "tests/faults/README.md",
    )
    found = [TOP / name for name in listed]
    return found + sorted((TOP / "docs").glob("*.md")) + sorted((TOP / "ops" / "runbooks").glob("*.md"))


def name_of(page: Path) -> str:
    return page.relative_to(TOP).as_posix()


def tokens_of(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


def blocks(page: Path) -> Iterator[Token]:
    """Yield the fenced and indented blocks of a page."""
    return (token for token in tokens_of(page) if token.type in {"fence", "code_block"})


def language(block: Token) -> str:
    return block.info.split()[0].lower() if block.info.strip() else ""


def saved(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the files that a page has its reader make: a block, and behind it "Save it as `NAME`"."""
    block = ""
    for token in tokens_of(page):
        if token.type == "fence":
            block = token.content
        elif token.type == "inline" and (name := re.match(r"Save it as `([^`]+)`", token.content)):
            yield name[1], block


def typed(page: Path) -> Iterator[Told]:
    """Yield what is told to be typed, in the page's order."""
    column, is_head, cell, line = -1, False, -1, 0
    for token in tokens_of(page):
        line = token.map[0] + 1 if token.map else line
        if token.type == "fence" and language(token) in SHELLS:
            yield from _lines(name_of(page), line + 1, token.content)
        elif token.type in {"thead_open", "thead_close"}:
            is_head = token.type == "thead_open"
            column = -1 if is_head else column
        elif token.type == "tr_open":
            cell = -1
        elif token.type in {"th_open", "td_open"}:
            cell += 1
        elif token.type == "table_close":
            column = -1
        elif token.type == "inline" and is_head and token.content.strip() == "run":
            column = cell
        elif token.type == "inline" and column >= 0 and cell == column and not is_head:
            yield from (Told(name_of(page), line, text) for text in _spans(token) if " " in text)


def mentioned(page: Path) -> Iterator[Told]:
    """Yield every command of a page's code spans."""
    for token in tokens_of(page):
        if token.type == "inline":
            line = token.map[0] + 1 if token.map else 0
            yield from (Told(name_of(page), line, text) for text in _spans(token))


def _spans(inline: Token) -> list[str]:
    spans = [child.content for child in inline.children or [] if child.type == "code_inline"]
    return [text for text in spans if text.startswith(COMMANDS)]


def _lines(page: str, first: int, content: str) -> Iterator[Told]:
    began, parts = first, list[str]()
    for number, text in enumerate(content.splitlines(), first):
        began = began if parts else number
        parts.append(text.removeprefix("$ "))
        if not text.endswith("\\"):
            command = "\n".join(parts)
            parts = []
            if command.strip() and not command.lstrip().startswith("#"):
                yield Told(page, began, command)


def words_of(text: str) -> list[str]:
    """Return a command's words, up to where its output goes."""
    words = shlex.split(text, comments=True)
    ends = [place for place, word in enumerate(words) if re.fullmatch(r"\d?>{1,2}.*|\|+|&+|;", word)]
    return words[: ends[0]] if ends else words


def check_options(text: str) -> None:
    """Read a command as `--help` has it. Raises click.UsageError: there is no such command, option or choice."""
    words = words_of(text)
    command: click.Command = cli if words[0].endswith("pipeline") else benchmarks
    rest = words[1:] if command is cli else words[3:]
    context = click.Context(command, info_name=words[0])
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        inner = command.get_command(context, rest[0])
        if inner is None:
            raise click.UsageError(f"{command.name} has no {rest[0]}")
        command, rest = inner, rest[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    try:
        values, _, __ = command.make_parser(context).parse_args(list(rest))
    except click.BadOptionUsage:  # a sentence may name an option without its value
        values, _, __ = command.make_parser(context).parse_args([*rest, "VALUE"])
    for parameter in command.params:
        given = values.get(str(parameter.name))
        if isinstance(parameter.type, click.Choice) and given is not None:
            for each in given if isinstance(given, list | tuple) else (given,):
                parameter.type.convert(each, parameter, context)


def check_target(text: str) -> None:
    """Look whether a Makefile has the targets of a command."""
    targets = re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text("utf-8"), re.MULTILINE)
    for word in words_of(text)[1:]:
        assert "=" in word or word in targets, f"{text}: the Makefile has no target {word}"
