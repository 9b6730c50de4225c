"""The site of all pages: no page outside its navigation, no link to what is not there. Anchors: `make docs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.site import pages as site

TOP = Path(__file__).parents[3]
MADE = {TOP / name for name in site.MADE}
LEADS_THERE = TOP / "docs/reference.md"
"""Links to pages that are made when the site is: a checkout has none of them, and this page says so."""
NAMED = {
    path.relative_to(TOP).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "ops/**/*.md", "benchmarks/*.md", "tests/**/*.md", ".github/*.md")
    for path in TOP.glob(pattern)
}
ELSEWHERE: set[str] = set()
"""Pages that are no part of the site, each with its reason beside it."""


def test_each_page_stands_in_the_navigation_once() -> None:
    listed = list(site.leaves(site.navigation()))
    assert sorted(listed) == sorted(NAMED - ELSEWHERE | site.MADE.keys()), "ops/site/mkdocs.yml has the navigation"


@pytest.mark.parametrize("page", site.pages(), ids=lambda page: page.relative_to(TOP).as_posix())
def test_each_link_of_a_page_leads_to_a_file(page: Path) -> None:
    made = MADE if page == LEADS_THERE else set()
    assert [link for link in site.links(page) if not is_there(site.target(page, link), made)] == []


@pytest.mark.parametrize("name", site.MADE)
def test_each_link_of_a_page_that_is_made_leads_to_a_file(name: str) -> None:
    links = site.links_in(site.MADE[name]())
    assert [link for link in links if not is_there(site.target(TOP / name, link), MADE)] == []


def test_one_page_leads_to_all_that_are_made() -> None:
    assert {site.target(LEADS_THERE, link) for link in site.links(LEADS_THERE)} >= MADE


def is_there(target: Path, made: set[Path]) -> bool:
    return target.is_file() or target in made


def test_the_site_has_the_pages_and_what_they_link_to(tmp_path: Path) -> None:
    site.lay_out(tmp_path / "docs")
    laid = {path.relative_to(tmp_path / "docs/pages").as_posix() for path in (tmp_path / "docs/pages").rglob("*.*")}
    assert laid >= (NAMED - ELSEWHERE | site.MADE.keys())
    assert {"docs/demo-regret.png", "pipeline/stream/app.py", "schemas/decision.avsc"} <= laid
