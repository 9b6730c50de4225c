"""The flow as a picture, with rates, lag and watermarks; who works; what doctor says; what was refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from pipeline.cli.doctor import look
from pipeline.console.desk import Desk, look_right, now_ms, viewer, whole
from pipeline.console.flow import lag_of
from pipeline.console.jobs import OnProgress
from pipeline.console.pages.lift import length_of
from pipeline.console.paging import page_of
from pipeline.doctor.checks import Finding
from pipeline.errors import ConfigError
from pipeline.registry.settings import RegistrySettings
from pipeline.replay.dead_letters.letters import Choice, DeadLetter, choose, describe
from pipeline.replay.dead_letters.resend import read_letters
from pipeline.stream.log.topics import DEAD_LETTERS

CHECKED_FOR_S = 60.0
LETTERS_FRESH_S = 5.0
MAX_LETTERS = 100_000
"""That one page reads."""
HIDDEN = "(hidden)"
SHOWN_FIELDS = {
    *("action_id", "outcome_id", "policy", "segment", "arm", "kind", "generation", "propensity", "value"),
    *("occurred_at_ms", "decided_at_ms", "snapshot_version", "schema_hash", "reason", "eligible", "probabilities"),
}
"""Of a refused record; whatever else it has may be of a person, and only its name and kind are shown."""


async def pipeline(desk: Desk, request: Request) -> Response:
    """Show the flow."""
    look_right(request, None)
    flow = desk.flow
    lag = lag_of(flow.deployment)
    watermarks = sorted((one.event_time_ms, name) for name, one in desk.followed.live.items())
    now = now_ms()
    return desk.page(
        request,
        "_pipeline.html" if "part" in request.query_params else "pipeline.html",
        flow=flow,
        topics=flow.topics,
        lag=lag,
        deployment=flow.deployment,
        watermarks=[(name, (now - at_ms) / 1000) for at_ms, name in watermarks[:10]],
        nodes=desk.nodes.nodes,
        workers=desk.nodes.workers,
        conservation=desk.nodes.conservation(),
        live=desk.followed.live,
    )


async def checks(desk: Desk, request: Request) -> Response:
    """Show what doctor says."""
    look_right(request, None)
    settings = desk.settings

    async def work(on_progress: OnProgress) -> list[Finding]:
        on_progress(0, 0)
        state = Path("/nonexistent")
        found = await asyncio.to_thread(
            lambda: list(look(settings.broker, settings.app_id, ("worker", "node"), state, RegistrySettings()))
        )
        # A worker's state folder and its registry are on its own machine.
        return [one for one in found if not one.what.startswith("state in")]

    job = desk.jobs.ask("doctor", work, fresh_s=CHECKED_FOR_S)
    return desk.page(request, "_checks.html", job=job)


async def letters(desk: Desk, request: Request) -> Response:
    """Show what was refused, by reason, and the newest of it."""
    look_right(request, None)

    async def work(on_progress: OnProgress) -> list[DeadLetter]:
        on_progress(0, 0)
        length = await length_of(desk.settings.broker, DEAD_LETTERS)
        if length > MAX_LETTERS:
            seen = f"there are {length:,} dead letters and marks, a page reads at most {MAX_LETTERS:,}"
            raise ConfigError("not read", [f"{seen}: pipeline dead-letters list"])
        return list((await read_letters(desk.settings.broker)).letters)

    job = desk.jobs.ask("letters", work, fresh_s=LETTERS_FRESH_S)
    for _ in range(40):  # mostly a moment
        if job.is_done:
            break
        await asyncio.sleep(0.05)
    reason, source = (request.query_params.get(name) or None for name in ("reason", "source"))
    found: list[DeadLetter] = job.result or []
    chosen = choose(found, Choice(reason=reason, source=source))
    reasons = Counter((one.reason, one.source.topic) for one in found)
    waiting = Counter((one.reason, one.source.topic) for one in found if one.replayed_at_ms is None)
    return desk.page(
        request,
        "letters.html",
        job=job,
        reasons=reasons.most_common(),
        waiting=waiting,
        page=page_of(list(reversed(chosen)), whole(request.query_params.get("page"), 1)),
        reason=reason or "",
        source=source or "",
        can_operate=viewer(request).operates(None),
    )


async def letter(desk: Desk, request: Request) -> Response:
    """Show one of them: what it says, but for what may be of a person."""
    look_right(request, None)
    job = desk.jobs.find("letters")
    name = request.path_params["source"]
    found: list[DeadLetter] = (job.result if job is not None else None) or []
    one = next((each for each in found if str(each.source) == name), None)
    if one is None:
        raise ConfigError("dead letter", [f"{name[:100]!r} is not at hand: open the list of dead letters again"])
    described = describe(one.raw)
    shown = redacted(described.content) if described.encoding != "hex" else described.content
    text = orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()[:20_000]
    return desk.page(request, "letter.html", letter=one, encoding=described.encoding, text=text)


def redacted(content: Any) -> Any:
    """Return a record with the values hidden of all fields but those that are of no person.

    >>> redacted({"action_id": "a", "context": {"email": "ada@example.org", "age": 36}})
    {'action_id': 'a', 'context': {'email': '(hidden) text', 'age': '(hidden) number'}}
    """
    if not isinstance(content, dict):
        return _hidden(content)
    return {
        name: value if name in SHOWN_FIELDS and not isinstance(value, dict) else redacted(value)
        for name, value in content.items()
    }


def _hidden(value: Any) -> str:
    kinds = {str: "text", bool: "true or false", int: "number", float: "number", list: "list", type(None): "nothing"}
    return f"{HIDDEN} {kinds.get(type(value), 'value')}"
