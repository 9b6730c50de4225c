"""All policies: what each earns against its holdout, its traffic, how fresh it is, what holds of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pipeline.console.desk import Desk, viewer, whole
from pipeline.console.pages.lift import known_lift
from pipeline.console.paging import page_of
from pipeline.console.rows import PolicyRow

ORDERS = ("name", "state", "traffic")


async def policies(desk: Desk, request: Request) -> Response:
    """Show a page of the policies that a filter lets through."""
    sought = request.query_params.get("q", "")[:100].strip().lower()
    order = request.query_params.get("sort", "name")
    followed = desk.followed
    rows = [
        desk.row(definition)
        for definition in followed.book
        if viewer(request).sees(definition.name) and sought in definition.name.lower()
    ]
    rows.sort(key=lambda row: _key(row, order))
    page = page_of(rows, whole(request.query_params.get("page"), 1))
    lifts = {row.name: known_lift(desk, row.name) for row in page.rows}
    return desk.page(
        request,
        "policies.html",
        page=page,
        sought=sought,
        order=order if order in ORDERS else "name",
        lifts=lifts,
        refused=followed.refused,
        left_out=followed.left_out,
    )


def _key(row: PolicyRow, order: str) -> tuple[object, ...]:
    if order == "traffic":
        return (-(row.rate or 0.0), row.name)
    if order == "state":
        return ({"bad": 0, "note": 1, "ok": 2}[row.mark], row.name)
    return (row.name,)
