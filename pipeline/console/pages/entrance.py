"""Coming in with a key, and going out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.console.access import COOKIE, LASTS_S
from pipeline.console.desk import Desk, form_of
from pipeline.serve.http.refused import RefusedError


async def entrance(desk: Desk, request: Request) -> Response:
    """Ask for a key."""
    return desk.page(request, "entrance.html", wanted=_path(request.query_params.get("to", "/")), fault="")


async def come_in(desk: Desk, request: Request) -> Response:
    """Take a key, and lead to what was asked for."""
    fields = await form_of(request)
    wanted = _path(fields.get("to", "/"))
    try:
        cookie = desk.access.come_in(fields.get("key", ""))
    except RefusedError as error:
        return desk.page(request, "entrance.html", error.status, wanted=wanted, fault=error.detail)
    answer = RedirectResponse(wanted, 303)
    is_secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, cookie, max_age=LASTS_S, httponly=True, samesite="strict", secure=is_secure, path="/")
    return answer


async def go_out(desk: Desk, request: Request) -> Response:
    """End the session."""
    await form_of(request)
    desk.access.leave(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/come-in" if desk.access.needs_key else "/", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


def _path(text: str) -> str:
    r"""Return a path of this console; of another address, its first page.

    >>> _path("/policies/homepage?q=1"), _path("//evil.example/"), _path("https://evil.example"), _path("/\\evil")
    ('/policies/homepage?q=1', '/', '/', '/')
    """
    is_own = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_own else "/"
