"""All routes, and what goes around each request: who asks, and that a browser loads nothing from elsewhere."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import resources
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeline.console.access import COOKIE, Viewer
from pipeline.console.desk import VIEWER, Desk
from pipeline.console.pages import act, audit, decision, editor, entrance, lift, pipeline, policies, policy, snapshots
from pipeline.errors import ConfigError, PipelineError, UnavailableError
from pipeline.serve.http.refused import RefusedError

log = logging.getLogger(__name__)

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
ASSETS = {
    "console.css": "text/css",
    "uPlot.min.css": "text/css",
    "console.js": "text/javascript",
    "htmx.min.js": "text/javascript",
    "uPlot.iife.min.js": "text/javascript",
    "mark.svg": "image/svg+xml",
}
OPEN = ("/come-in", "/assets/", "/healthz")
"""Paths that ask for no key."""

Answer = Callable[[Desk, Request], Awaitable[Response]]


def build_app(desk: Desk) -> Starlette:
    """Return the console's pages."""
    pages: list[tuple[str, str, Answer]] = [
        ("GET", "/", policies.policies),
        ("GET", "/policies/{policy}", policy.policy),
        ("GET", "/policies/{policy}/timeline.json", policy.drawn),
        ("GET", "/policies/{policy}/lift", lift.lift),
        ("GET", "/policies/{policy}/advice", lift.advice),
        ("GET", "/policies/{policy}/snapshots", snapshots.snapshots),
        ("GET", "/policies/{policy}/diff", snapshots.difference),
        ("GET", "/policies/{policy}/proof", snapshots.proof),
        ("GET", "/policies/{policy}/definition", editor.definition),
        ("GET", "/policies/{policy}/act/{act}", act.look),
        ("POST", "/policies/{policy}/act/{act}", act.act),
        ("GET", "/act/{act}", act.look),
        ("POST", "/act/{act}", act.act),
        ("GET", "/pipeline", pipeline.pipeline),
        ("GET", "/pipeline/checks", pipeline.checks),
        ("GET", "/dead-letters", pipeline.letters),
        ("GET", "/dead-letters/{source:path}", pipeline.letter),
        ("GET", "/decision", decision.decision),
        ("GET", "/editor", editor.new),
        ("POST", "/editor/check", editor.check),
        ("GET", "/audit", audit.audit),
        ("GET", "/come-in", entrance.entrance),
        ("POST", "/come-in", entrance.come_in),
        ("POST", "/go-out", entrance.go_out),
        ("GET", "/assets/{name}", _asset),
        ("GET", "/healthz", _health),
    ]
    return Starlette(
        routes=[Route(path, partial(_answered, desk, answer), methods=[method]) for method, path, answer in pages],
        exception_handlers={404: partial(_missing, desk), 405: partial(_missing, desk)},
    )


async def _answered(desk: Desk, answer: Answer, request: Request) -> Response:
    """Answer a request, or say in words why not."""
    try:
        response = await _admitted(desk, answer, request)
    except RefusedError as error:
        response = _told(desk, request, error.status, error.word, [error.detail])
    except ConfigError as error:
        response = _told(desk, request, 404, error.what, list(error.faults))
    except UnavailableError as error:
        response = _told(desk, request, 503, "not there at present", [str(error)])
    except PipelineError as error:
        response = _told(desk, request, 409, "not as expected", [str(error)])
    response.headers.update(HEADERS)
    return response


async def _admitted(desk: Desk, answer: Answer, request: Request) -> Response:
    request.scope[VIEWER] = Viewer("", None, "")
    desk.access.check_source(request.scope)
    who = desk.access.viewer(request.cookies.get(COOKIE, ""))
    path = request.url.path
    if who is None and not path.startswith(OPEN):
        wanted = quote(path + (f"?{request.url.query}" if request.url.query else ""), safe="/")
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={"hx-redirect": "/come-in"})
        return RedirectResponse(f"/come-in?to={wanted}", 303)
    if who is not None:
        request.scope[VIEWER] = who
    return await answer(desk, request)


def _told(desk: Desk, request: Request, status: int, what: str, faults: list[str]) -> Response:
    template = "_error.html" if "hx-request" in request.headers else "error.html"
    # htmx leaves out what is no success: a part of a page says what went wrong in its place.
    shown = 200 if template == "_error.html" else status
    return desk.page(request, template, shown, code=status, what=what, faults=faults)


async def _missing(desk: Desk, request: Request, _: Exception) -> Response:
    async def answer(_: Desk, request: Request) -> Response:
        raise RefusedError(404, "no such page", f"there is nothing at {request.url.path[:200]}")

    return await _answered(desk, answer, request)


async def _asset(_: Desk, request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        raise RefusedError(404, "no such asset", f"there is no {name[:100]}")
    content = resources.files("pipeline.console").joinpath("assets", name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=ASSETS[name], headers=headers)


async def _health(desk: Desk, _: Request) -> Response:
    is_ready = desk.followed.is_ready
    answer = {"ready": is_ready, "away": sorted(desk.followed.away)}
    return JSONResponse(answer, 200 if is_ready else 503)
