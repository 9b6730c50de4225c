"""The site of all pages: no page outside its navigation, no link to what is not there. Anchors: `make docs`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]
SPEC = importlib.util.spec_from_file_location("site_pages", TOP / "ops" / "site" / "pages.py")
assert SPEC is not None
assert SPEC.loader is not None
site = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site)
NAMED = {
    path.relative_to(TOP).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "ops/**/*.md", "benchmarks/*.md", "tests/**/*.md", ".github/*.md")
    for path in TOP.glob(pattern)
}
ELSEWHERE: set[str] = set()
"""Pages that are no part of the site, each with its reason beside it."""


def test_each_page_stands_in_the_navigation_once() -> None:
    listed = list(site.leaves(site.navigation()))
    assert sorted(listed) == sorted(NAMED - ELSEWHERE), "ops/site/mkdocs.yml has the navigation"


@pytest.mark.parametrize("page", site.pages(), ids=lambda page: page.relative_to(TOP).as_posix())
def test_each_link_of_a_page_leads_to_a_file(page: Path) -> None:
    assert [link for link in site.links(page) if not site.target(page, link).is_file()] == []


def test_the_site_has_the_pages_and_what_they_link_to(tmp_path: Path) -> None:
    site.lay_out(tmp_path / "docs")
    laid = {path.relative_to(tmp_path / "docs/pages").as_posix() for path in (tmp_path / "docs/pages").rglob("*.*")}
    assert laid >= NAMED - ELSEWHERE
    assert {"docs/demo-regret.png", "pipeline/stream/app.py", "schemas/decision.avsc"} <= laid
