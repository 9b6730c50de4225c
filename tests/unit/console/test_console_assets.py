"""What is vendored is what its makers published, and nothing in a page comes from elsewhere or runs where it stands."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from pipeline.console.app import ASSETS

CONSOLE = Path(__file__).parents[3] / "pipeline" / "console"
VENDORED = [
    line.split() for line in (CONSOLE / "assets" / "vendored.sha256").read_text("utf-8").splitlines() if line[0] != "#"
]
TEMPLATES = sorted((CONSOLE / "templates").glob("*.html"))


@pytest.mark.parametrize(("digest", "name"), VENDORED)
def test_a_vendored_file_is_the_one_that_was_taken(digest: str, name: str):
    assert hashlib.sha256((CONSOLE / "assets" / name).read_bytes()).hexdigest() == digest


def test_every_script_is_vendored_with_its_licence_or_is_ours():
    vendored = {name for _, name in VENDORED}
    assert {name for name in ASSETS if name not in vendored} == {"console.css", "console.js", "mark.svg"}
    for name in vendored:
        assert (CONSOLE / "assets" / f"{name.partition('.')[0]}.LICENSE").is_file()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_page_has_no_script_or_style_of_its_own_and_names_no_other_host(path: Path):
    text = path.read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)
    # What turns escaping off has no place here.
    assert not re.search(r"\|\s*safe\b|autoescape", text)
