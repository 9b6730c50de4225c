"""Runbooks speak of what there is: log events, reasons and options by their real names, and pages that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGES = sorted((TOP / "ops" / "runbooks").glob("*.md"))
SOURCE = "\n".join(path.read_text("utf-8") for path in (TOP / "pipeline").rglob("*.py"))
# `state-rebuilt`, `unknown-arm` or `--idle-after`, alone or at the head of a log line.
NAME = re.compile(r"`(--)?([a-z]+(?:-[a-z]+)+)\b(?![./])")
LINK = re.compile(r"\]\(([^)#]+)\)")
ELSEWHERE = {"dead-letters", "kafka-consumer"}
"""A topic, and the head of a tool of Kafka's."""


def test_there_are_pages():
    assert len(PAGES) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_names_what_the_code_says(page: Path):
    named = {name for _, name in NAME.findall(page.read_text("utf-8"))} - ELSEWHERE
    assert {name for name in named if name not in SOURCE} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_links_to_what_is_there(page: Path):
    links = LINK.findall(page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_index_names_every_page():
    index = (TOP / "ops" / "runbooks" / "README.md").read_text("utf-8")
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []
