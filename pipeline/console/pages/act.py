"""An act: what would be done is shown, the policy's name is typed, it is done, and what came of it is told."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from pipeline.console.acts import ACTS, Act, Shown
from pipeline.console.desk import Desk, form_of, look_right, viewer
from pipeline.errors import ConfigError, PipelineError, UnavailableError
from pipeline.serve.http.refused import RefusedError

LOOKED_WITHIN_S = 30.0

log = logging.getLogger(__name__)

CHANGED = "Nothing was done: what would be done is no longer what was shown. Look again."
NO_POLICY = "~"
"""In an address, where a name would stand."""
FIELDS = ("to", "arm", "share", "reason", "source", "text")
"""What an act goes by, beside its policy."""


async def look(desk: Desk, request: Request) -> Response:
    """Show what would be done."""
    return await _shown(desk, request, request.query_params)


async def act(desk: Desk, request: Request) -> Response:
    """Do what was shown, if that is still what would be done and its word was typed; else show it again."""
    fields = await form_of(request)
    kind, policy = _kind(request), _policy(request)
    if fields.get("step") != "do":
        return await _shown(desk, request, fields)
    desk.access.check_act(viewer(request), policy or None, fields.get("token", ""))
    chosen = _chosen(fields)
    seen = await _look(desk, kind, policy, chosen)
    if not hmac.compare_digest(seen.seal.encode(), fields.get("seal", "").encode()):
        return _page(desk, request, kind, policy, chosen, seen, CHANGED)
    if not seen.is_possible:
        return _page(desk, request, kind, policy, chosen, seen, "There is nothing to do.")
    if fields.get("typed", "").strip() != seen.typed:
        return _page(desk, request, kind, policy, chosen, seen, f"Nothing was done: “{seen.typed}” was not typed.")
    told: list[str] = []
    by = desk.operator(request, kind.command, told)
    try:
        words = await kind.do(desk.settings.broker, policy, chosen, by)
    except PipelineError as error:
        faults = list(error.faults) if isinstance(error, ConfigError) else [str(error)]
        log.warning("act-failed command=%s policy=%s error=%s", kind.command, policy, error)
        return desk.page(request, "acted.html", 409, kind=kind, policy=policy, words="", faults=faults, told=told)
    return desk.page(request, "acted.html", kind=kind, policy=policy, words=words, faults=[], told=told)


async def _shown(desk: Desk, request: Request, fields: Mapping[str, str]) -> Response:
    kind, policy = _kind(request), _policy(request)
    look_right(request, policy or None)
    chosen = _chosen(fields)
    try:
        seen = await _look(desk, kind, policy, chosen)
    except ConfigError as error:
        return desk.page(
            request, "acted.html", 400, kind=kind, policy=policy, words="", faults=list(error.faults), told=[]
        )
    return _page(desk, request, kind, policy, chosen, seen, "")


def _page(
    desk: Desk, request: Request, kind: Act, policy: str, chosen: Mapping[str, str], seen: Shown, fault: str
) -> Response:
    return desk.page(
        request,
        "act.html",
        409 if fault else 200,
        kind=kind,
        policy=policy,
        chosen=chosen,
        seen=seen,
        fault=fault,
        can_operate=viewer(request).operates(policy or None),
    )


async def _look(desk: Desk, kind: Act, policy: str, chosen: Mapping[str, str]) -> Shown:
    """Look at what would be done, while somebody waits."""
    try:
        async with asyncio.timeout(LOOKED_WITHIN_S):
            return await kind.look(desk.settings.broker, policy, chosen)
    except TimeoutError:
        raise UnavailableError(
            f"the brokers have not told within {LOOKED_WITHIN_S:g} s what that would change; nothing was done. On the "
            f"command line: pipeline {kind.command}"
        ) from None


def _policy(request: Request) -> str:
    """Return the policy that an act is of; empty: of none that there is yet."""
    name: str = request.path_params.get("policy", NO_POLICY)
    return "" if name == NO_POLICY else name


def _kind(request: Request) -> Act:
    name = request.path_params["act"]
    kind = ACTS.get(name)
    if kind is None or (name == "letters") != ("policy" not in request.path_params):
        raise RefusedError(404, "no such act", f"{name[:40]!r} is none of {', '.join(ACTS)}")
    return kind


def _chosen(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: fields[name] for name in FIELDS if fields.get(name)}
