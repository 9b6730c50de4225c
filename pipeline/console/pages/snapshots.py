"""The line of a policy's snapshots: what differs between two, in words; one, proven; and the way back to one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.cli.changes import in_words
from pipeline.cli.snapshots import Found, find_published, find_snapshot
from pipeline.console.desk import Desk, look_right, viewer, whole
from pipeline.console.jobs import OnProgress
from pipeline.console.pages.lift import check_length
from pipeline.console.paging import page_of
from pipeline.errors import ConfigError
from pipeline.policy.directive import is_held
from pipeline.replay.proof.diff import diff_snapshots
from pipeline.replay.proof.verify import verify_snapshots

PROVEN_FOR_S = 3_600.0
DIFF_FRESH_S = 600.0
MAX_COUNTS = 200
"""Arms whose counts differ that a page shows."""


async def snapshots(desk: Desk, request: Request) -> Response:
    """Show the versions, newest first."""
    name = request.path_params["policy"]
    look_right(request, name)
    definition = desk.definition(name)
    followed = desk.followed
    line = followed.lines.get(name)
    facts = [] if line is None else list(reversed(line.facts))
    if request.query_params.get("only") == "changes":
        facts = [one for one in facts if one.change or one == facts[0]]
    page = page_of(facts, whole(request.query_params.get("page"), 1))
    return desk.page(
        request,
        "snapshots.html",
        row=desk.row(definition),
        page=page,
        total=0 if line is None else line.total,
        only=request.query_params.get("only", ""),
        nodes=desk.nodes.versions(name),
        proven={one.version: desk.jobs.find(_key(name, one.version)) for one in page.rows},
        can_operate=viewer(request).operates(name),
        is_held=is_held(followed.book.directive(name)),
        rollout=definition.rollout,
    )


async def difference(desk: Desk, request: Request) -> Response:
    """Show what differs between two versions."""
    name = request.path_params["policy"]
    look_right(request, name)
    before, after = (whole(request.query_params.get(which), 0) for which in ("before", "after"))
    if not before or not after:
        raise ConfigError("compare", ["before, after: two versions are needed, such as 7 and 12"])

    async def work(on_progress: OnProgress) -> dict[str, Any]:
        on_progress(0, 0)
        old, new = [await find_snapshot(desk.settings.broker, name, version) for version in (before, after)]
        return _compared(old, new)

    job = desk.jobs.ask(f"diff {name} {before} {after}", work, fresh_s=DIFF_FRESH_S)
    return desk.page(request, "_diff.html", policy=name, before=before, after=after, job=job)


async def proof(desk: Desk, request: Request) -> Response:
    """Fold a version's ledger prefix afresh, as `pipeline verify` does, and say whether it is equal."""
    name = request.path_params["policy"]
    look_right(request, name)
    version = whole(request.query_params.get("version"), 0)

    async def work(on_progress: OnProgress) -> Any:
        await check_length(desk)
        found = await find_published(desk.settings.broker, name, version)
        (verdict,) = await verify_snapshots(desk.settings.broker, [found.kept], on_progress)
        return verdict

    job = desk.jobs.ask(_key(name, version), work, fresh_s=PROVEN_FOR_S)
    return desk.page(request, "_proof.html", policy=name, version=version, job=job)


def _key(policy: str, version: int) -> str:
    return f"proof {policy} {version}"


def _compared(old: Found, new: Found) -> dict[str, Any]:
    found = diff_snapshots(old.fields, new.fields)
    left = max(0, len(found.counts) - MAX_COUNTS)
    return {"words": list(in_words(found)), "counts": found.counts[:MAX_COUNTS], "left": left}
