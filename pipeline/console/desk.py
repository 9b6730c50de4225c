"""What every page has at hand: what is known, what may be asked, and how an answer is written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pipeline.audit.record import Operator
from pipeline.codec import avro
from pipeline.console import timeline
from pipeline.console.access import Access, Viewer, why_not
from pipeline.console.flow import Flow
from pipeline.console.followed import Followed
from pipeline.console.jobs import Jobs
from pipeline.console.nodes import Nodes
from pipeline.console.render import environment
from pipeline.console.rows import PolicyRow, policy_row
from pipeline.console.settings import ConsoleSettings
from pipeline.console.timeline import Point
from pipeline.console.versions import Kept
from pipeline.errors import ConfigError, UnavailableError
from pipeline.policy.definition import PolicyDefinition
from pipeline.serve.http.refused import RefusedError

VIEWER = "pipeline.viewer"
"""Where a request's scope has who asks."""
MAX_FORM_BYTES = 1 << 20
MAX_FIELDS = 100
MAX_TEXT_CHARACTERS = 512_000
KEPT_POINTS = 4_000
KEPT_POINT_ARMS = 100_000
"""Of all kept points together; more are worked out again."""


class Desk:
    """One console's parts."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self.settings = settings
        self.access = Access(settings)
        self.followed = Followed(settings.broker)
        self.jobs = Jobs()
        self.nodes = Nodes(settings.nodes, settings.node_key, settings.workers)
        self.flow = Flow(settings.broker, settings.app_id)
        self._templates: Environment = environment()
        self._points: dict[tuple[str, str], Point | None] = {}
        self._point_arms = 0

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Answer with a template."""
        who = viewer(request)
        shared = {
            "viewer": who,
            "needs_key": self.access.needs_key,
            "broker": str(self.settings.broker),
            "away": self.followed.away | ({"topics": self.flow.away} if self.flow.away else {}),
            "is_ready": self.followed.is_ready,
            "path": request.url.path,
            "why_not": why_not(who),
        }
        text = self._templates.get_template(template).render({**shared, **values})
        return HTMLResponse(text, status, {"cache-control": "no-store"})

    def operator(self, request: Request, command: str, told: list[str]) -> Operator:
        """Return who acts, for the record of it; `told` takes what the act has to say beside."""
        name = f"key {viewer(request).name} at the console"
        return Operator(name, command, self.settings.require_audit, told.append)

    def definition(self, policy: str) -> PolicyDefinition:
        """Return a policy's definition in force.

        Raises:
            UnavailableError: policies are not known yet. ConfigError: it is not applied.
        """
        found = self.followed.book.in_force(policy)
        if found is None:
            if not self.followed.is_ready:
                raise UnavailableError("policies are still being read: load this page again in a moment")
            known = ", ".join(one.name for one in self.followed.book) or "none"
            raise ConfigError(f"policy {policy[:100]}", [f"is not applied; known: {known[:500]}"])
        return found

    def row(self, definition: PolicyDefinition) -> PolicyRow:
        """Return a policy's row, by all that is known."""
        followed, name = self.followed, definition.name
        live, line = followed.live.get(name), followed.lines.get(name)
        red = [monitor for monitor, told in self.nodes.monitors(name).items() if told.is_red]
        return policy_row(definition, followed.book, live, line, followed.age_ms(name), self.nodes.alarm(name), red)

    def record(self, policy: str) -> tuple[int, Mapping[str, Any]] | None:
        """Return the newest record of a policy at hand, decoded, with its version; None where it lies in parts."""
        line = self.followed.lines.get(policy)
        newest = None if line is None else line.newest
        if newest is None or not newest.is_whole:
            return None
        return newest.facts.version, _decoded(newest.record)

    def point(self, kept: Kept, segment: str) -> Point | None:
        """Return what is drawn of a version, from memory if it was drawn before."""
        key = (kept.facts.id, segment)
        try:
            return self._points[key]
        except KeyError:
            point = timeline.point_of(kept, segment)
        # Pages ask in threads: what one puts here, another may have cleared away by the next line.
        self._point_arms += len(point or ())
        if len(self._points) >= KEPT_POINTS or self._point_arms > KEPT_POINT_ARMS:
            self._points.clear()
            self._point_arms = len(point or ())
        self._points[key] = point
        return point


def viewer(request: Request) -> Viewer:
    """Return who asks."""
    found: Viewer = request.scope[VIEWER]
    return found


def look_right(request: Request, policy: str | None) -> None:
    """Let through whoever may look at a policy, or, of None, at what is of all of them.

    Raises:
        RefusedError: 403.
    """
    if not viewer(request).sees(policy):
        of = "every policy" if policy is None else f"the policy {policy[:100]}"
        raise RefusedError(403, "forbidden", f"key {viewer(request).name} may not look at {of}")


async def form_of(request: Request) -> dict[str, str]:
    """Return a form's fields.

    Raises:
        RefusedError: 413, 415.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RefusedError(415, "no-form", f"Content-Type is {kind[:100]!r}, expected a form's")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise RefusedError(413, "too-large", f"a form has at most {MAX_FORM_BYTES >> 10} KiB")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise RefusedError(400, "no-form", f"the form can't be read: {error}") from error


def whole(text: str | None, otherwise: int) -> int:
    """Return a number of a query; what is none is `otherwise`."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else otherwise


def now_ms() -> int:
    """Return the clock."""
    return time.time_ns() // 1_000_000


@lru_cache(64)
def _decoded(record: bytes) -> Mapping[str, Any]:
    return avro.decode_as("snapshot", record)
