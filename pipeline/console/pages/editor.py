"""A policy's text: checked while it is typed, by the command line's own faults; what it would change; and applied."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from pipeline.cli.policy import in_words
from pipeline.console.acts import change_in_words, changes_of, proposed
from pipeline.console.desk import MAX_TEXT_CHARACTERS, Desk, form_of, look_right, viewer
from pipeline.errors import ConfigError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.parsing.reward_grid import grid_doubts
from pipeline.policy.parsing.toml import to_toml
from pipeline.serve.http.refused import RefusedError

NEW = """\
# A policy: which arm to show to whom, and what it is worth.
name = "{name}"

[[arms]]
name = "{first}"
[[arms]]
name = "{second}"

[segments]                 # everybody together; rules with a `when` make others
default = "all"

[algorithm]
name = "auto"              # it has no number to choose

[reward]
low = 0.0
high = 1.0
combine = "max"
[[reward.outcomes]]
kind = "{kind}"
worth = 1.0
window = "{window}"

[attribution]
settle = "optimistic"
grace = "1h"

[exploration]
share = 0.01               # of all arms together; falls to a tenth as they are tried

[guardrails.holdout]       # without it, nobody can say what the policy earns
share = 0.05
"""


async def definition(desk: Desk, request: Request) -> Response:
    """Show the definition in force as text, to be changed."""
    name = request.path_params["policy"]
    look_right(request, name)
    latest = desk.followed.book.latest(name) or desk.definition(name)
    text = to_toml(json.loads(to_canonical_json(latest)))
    return desk.page(
        request, "editor.html", row=desk.row(latest), policy=name, text=text, can_operate=viewer(request).operates(name)
    )


async def new(desk: Desk, request: Request) -> Response:
    """Show a form for a new policy, and the text that its answers make."""
    look_right(request, None)
    asked = {name: request.query_params.get(name, "").strip()[:100] for name in ("name", "first", "second", "kind")}
    window = request.query_params.get("window", "1d")
    text = ""
    if asked["name"]:
        filled = {name: json.dumps(value or name)[1:-1] for name, value in asked.items()}
        text = NEW.format(**filled, window=json.dumps(window)[1:-1])
    return desk.page(
        request,
        "editor.html",
        row=None,
        policy="",
        text=text,
        can_operate=viewer(request).operates(None),
    )


async def check(desk: Desk, request: Request) -> Response:
    """Say what is wrong with a text, or what it would change."""
    fields = await form_of(request)
    policy, text = fields.get("policy", ""), fields.get("text", "")
    look_right(request, policy or None)
    if len(text) > MAX_TEXT_CHARACTERS:
        raise RefusedError(413, "too-long", f"{len(text):,} characters, at most {MAX_TEXT_CHARACTERS:,} are read")
    try:
        after, before = await proposed(desk.settings.broker, policy, text)
    except ConfigError as error:
        return desk.page(request, "_faults.html", faults=error.faults, words="", changes=[], doubts=[], is_new=False)
    changes = [] if before is None else [change_in_words(one) for one in changes_of(before, after)]
    return desk.page(
        request,
        "_faults.html",
        faults=[],
        words=in_words(after),
        changes=changes[:200],
        doubts=grid_doubts(after.reward),
        is_new=before is None,
    )
