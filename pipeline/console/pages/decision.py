"""A decision, looked up by its action_id: what was known, what was drawn from, what came of it; all derived again."""

from __future__ import annotations

from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from pipeline.cli.snapshots import find_whole
from pipeline.console.derive import Check, decision_checks, reward_check
from pipeline.console.desk import Desk, look_right
from pipeline.console.jobs import OnProgress
from pipeline.console.lookup import FoundDecision, find_decision
from pipeline.errors import PipelineError
from pipeline.policy.definition import PolicyDefinition
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot

FRESH_S = 5.0
MAX_ARMS = 200


class Looked(NamedTuple):
    """What came of a look."""

    found: FoundDecision
    checks: list[Check]
    no_snapshot: str
    """Why its snapshot is not at hand."""


async def decision(desk: Desk, request: Request) -> Response:
    """Show a decision, or the form that asks for one."""
    action_id = request.query_params.get("action_id", "").strip()
    job = None
    if action_id:

        async def work(on_progress: OnProgress) -> Looked:
            return await _look(desk, action_id, on_progress)

        job = desk.jobs.ask(f"decision {action_id}", work, fresh_s=FRESH_S)
        if job.is_done and job.result is not None and job.result.found.decision is not None:
            look_right(request, job.result.found.decision.policy)
        elif job.is_done:
            look_right(request, None)
    template = "_decision.html" if "part" in request.query_params else "decision.html"
    return desk.page(request, template, action_id=action_id, job=job, most=MAX_ARMS)


async def _look(desk: Desk, action_id: str, on_progress: OnProgress) -> Looked:
    found = await find_decision(desk.settings.broker, action_id, on_progress)
    made = found.decision
    if made is None:
        return Looked(found, [], "")
    snapshot, why = await _snapshot_of(desk, made)
    checks = decision_checks(made, snapshot)
    for record in found.revisions:
        checks.append(reward_check(record, _rules(desk, record)))
    return Looked(found, checks, why)


async def _snapshot_of(desk: Desk, made: Any) -> tuple[LoadedSnapshot | None, str]:
    if not made.snapshot_version:
        return None, "the node had no snapshot"
    try:
        return load_snapshot((await find_whole(desk.settings.broker, made.policy, made.snapshot_version)).content), ""
    except PipelineError as error:
        return None, str(error)


def _rules(desk: Desk, record: Any) -> PolicyDefinition | None:
    return desk.followed.book.find(record["policy"], record["generation"])
