"""What operators did: who, when, by which command, what was before and after."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pipeline.console.desk import Desk, viewer, whole
from pipeline.console.paging import page_of


async def audit(desk: Desk, request: Request) -> Response:
    """Show the acts that are of what one may see, newest first."""
    policy = request.query_params.get("policy", "")
    acts = [one for one in desk.followed.acts(policy or None) if viewer(request).sees(one.policy or None)]
    page = page_of(acts, whole(request.query_params.get("page"), 1))
    return desk.page(request, "audit.html", page=page, policy=policy)
