"""What Faust is told of changelogs, which it is not to recover."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from faust.tables.recovery import Recovery
from faust.types import TP

from pipeline.stream.log.group import Member

CHANGELOG = TP("pipeline-join-changelog", 0)


async def test_faust_finds_no_changelog_that_begins_behind_its_end() -> None:
    """Retention may have been at it once: Faust compares the two as it does here, and would end the worker."""
    member: Any = SimpleNamespace()
    member.highwaters = lambda *places: Member.highwaters(member, *places)
    member.earliest_offsets = lambda *places: Member.earliest_offsets(member, *places)
    faust: Any = SimpleNamespace(
        log=SimpleNamespace(info=lambda *_: None),
        _highwater_logtable=lambda *_, **__: "",
        _start_offsets_logtable=lambda *_, **__: "",
    )
    ends: Any = {}
    begins: Any = {CHANGELOG: None}  # no offset is persisted, a store tells it
    await Recovery._build_highwaters(faust, member, {CHANGELOG}, ends, "active")
    await Recovery._build_offsets(faust, member, {CHANGELOG}, begins, "active")
    assert begins[CHANGELOG] <= ends[CHANGELOG]
