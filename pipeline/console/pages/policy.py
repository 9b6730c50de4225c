"""A policy: its arms by segment, how their shares moved, what it earns, whether to stop."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.console.arms import segment_table
from pipeline.console.desk import Desk, look_right, viewer, whole
from pipeline.console.monitored import MonitorRow, label_rate_row, monitor_rows
from pipeline.console.paging import page_of
from pipeline.console.timeline import CONTEXT, Timeline, shown_between, timeline_of
from pipeline.errors import ConfigError
from pipeline.policy.definition import PolicyDefinition


async def policy(desk: Desk, request: Request) -> Response:
    """Show a policy, and of one segment its arms."""
    name = request.path_params["policy"]
    look_right(request, name)
    definition = desk.definition(name)
    followed = desk.followed
    live = followed.live.get(name)
    shared: dict[str, Any] = {
        "row": desk.row(definition),
        "definition": definition,
        "nodes": desk.nodes.versions(name),
        "live": live,
        "monitors": _monitors(desk, definition),
        "waits": (desk.nodes.alarm(name) or ("", False))[1],
    }
    if live is None:
        return desk.page(request, "policy.html", **shared, table=None, segments=[], segment="", page=None, sought="")
    counts = {segment: sum(one.counts.values()) for segment, one in live.segments.items()}
    segments = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    segment = request.query_params.get("segment", segments[0][0])
    if segment not in counts:
        raise ConfigError(f"segment {segment[:100]}", [f"is none of {', '.join(sorted(counts))[:500]}"])
    known = desk.record(name)
    record = known[1] if known is not None and known[0] == live.version else None
    table = await asyncio.to_thread(segment_table, live, segment, record, definition)
    sought = request.query_params.get("q", "")[:100].strip().lower()
    rows = [one for one in table.rows if sought in one.arm.lower()]
    return desk.page(
        request,
        "policy.html",
        **shared,
        table=table,
        segments=segments,
        segment=segment,
        page=page_of(rows, whole(request.query_params.get("page"), 1)),
        sought=sought,
        acts=followed.acts(name)[:5],
        can_operate=viewer(request).operates(name),
    )


def _monitors(desk: Desk, definition: PolicyDefinition) -> list[MonitorRow]:
    nodes, name = desk.nodes, definition.name
    is_asked = bool(nodes.workers)
    first = label_rate_row(definition, nodes.alarm(name), nodes.label_rate(name), is_asked=is_asked)
    return [first, *monitor_rows(definition, nodes.monitors(name), is_asked=is_asked)]


async def drawn(desk: Desk, request: Request) -> Response:
    """Give a segment's shares and P(best) over time, for the charts."""
    name = request.path_params["policy"]
    look_right(request, name)
    desk.definition(name)
    segment = request.query_params.get("segment", "")
    line = desk.followed.lines.get(name)
    kept = [] if line is None else list(line.records)
    live = desk.followed.live.get(name)
    is_contextual = live is not None and live.needs_context

    def work() -> Timeline:
        if not is_contextual:
            return timeline_of(kept, segment, desk.point)
        points = shown_between(kept, segment)
        return timeline_of(kept, segment, lambda one, _: points.get(one.facts.version))._replace(reason=CONTEXT)

    found = await asyncio.to_thread(work)
    return JSONResponse(found.to_plain(), headers={"cache-control": "no-store"})
