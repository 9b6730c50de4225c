"""Lays out what the site is made of: the repository's own pages at their own paths, and the files that they link to.

So a link reads the same in a checkout and on the site, and no page is kept twice: pages that are made of the code's
declarations are made here, and lie nowhere else. A folder in the navigation of mkdocs.yml stands for its pages.

python -m ops.site.pages out/docs
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt

from tests.harness.reference.pages import PAGES as MADE

TOP = Path(__file__).resolve().parents[2]
CONFIGURATION = Path(__file__).with_name("mkdocs.yml")
SINGLE = (
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "tests/faults/README.md",
)
FOLDERS = ("docs", "ops/decisions", "ops/runbooks")


def pages() -> list[Path]:
    """Return every page of the site."""
    return [TOP / name for name in SINGLE] + [page for name in FOLDERS for page in sorted((TOP / name).rglob("*.md"))]


def links(page: Path) -> list[str]:
    """Return what a page links to or shows, as it is written, without what lies elsewhere."""
    return links_in(page.read_text("utf-8"))


def links_in(text: str) -> list[str]:
    """Return what a page of this text links to or shows."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    spans = [child for token in tokens for child in token.children or []]
    found = [str(span.attrs.get("href") or span.attrs.get("src") or "") for span in spans]
    return [link for link in found if link and "://" not in link]


def target(page: Path, link: str) -> Path:
    """Return the file that a page's link names."""
    return (page.parent / link.partition("#")[0]).resolve() if link.partition("#")[0] else page


def navigation() -> list[dict[str, Any]]:
    """Return the sections, folders as their pages: the index first, then by name."""
    sections: list[dict[str, Any]] = yaml.safe_load(CONFIGURATION.read_text("utf-8"))["nav"]
    for section in sections:
        for name, within in section.items():
            if isinstance(within, str) and (folder := TOP / within).is_dir():
                found = sorted(folder.glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
                section[name] = [{_heading(page): page.relative_to(TOP).as_posix()} for page in found]
    return sections


def leaves(within: Any) -> Iterator[str]:
    """Yield the pages that a navigation names."""
    if isinstance(within, str):
        yield within
    else:
        for each in within.values() if isinstance(within, dict) else within:
            yield from leaves(each)


def lay_out(folder: Path) -> None:
    """Write the configuration and all pages under a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    made = {TOP / name: make() for name, make in MADE.items()}
    found = {*pages(), *(target(page, link) for page in pages() for link in links(page))}
    found |= {target(page, link) for page, text in made.items() for link in links_in(text)}
    for path in sorted(path for path in found if path.is_file()):
        copy = folder / "pages" / path.relative_to(TOP)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for path, text in made.items():
        (folder / "pages" / path.relative_to(TOP)).write_text(text, "utf-8")
    configuration = yaml.safe_load(CONFIGURATION.read_text("utf-8")) | {"nav": navigation()}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(configuration, allow_unicode=True, sort_keys=False), "utf-8")


def _heading(page: Path) -> str:
    found = re.search(r"^# (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return found[1].replace("`", "") if found else page.stem


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
