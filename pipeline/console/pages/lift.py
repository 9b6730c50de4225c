"""What a policy earns more than its holdout, by the command line's own report; and whether one may stop, by its advice.

Both read the ledger, so they are jobs: a page asks for them when it is there, and shows how far they are.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.cli.advise import Found, advise_policy, verdict
from pipeline.cli.report import report_on
from pipeline.console.desk import Desk, look_right
from pipeline.console.jobs import Job, OnProgress
from pipeline.errors import ConfigError
from pipeline.models.advice import Rule
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import REWARDS
from pipeline.stream.security import Address

LIFT_FRESH_S = 120.0
ADVICE_FRESH_S = 30.0
TRAFFIC_MS = 86_400_000
"""As `pipeline advise` has it."""


async def lift(desk: Desk, request: Request) -> Response:
    """Show the lift, or how far it is."""
    policy = request.path_params["policy"]
    look_right(request, policy)
    is_short = "short" in request.query_params
    template = "_lift_cell.html" if is_short else "_lift.html"
    definition = desk.definition(policy)
    if definition.guardrails.holdout is None and is_short:
        return desk.page(request, template, policy=policy, job=None, has_holdout=False)
    job = desk.jobs.ask(f"lift {policy}", lambda progress: _report(desk, policy, progress), fresh_s=LIFT_FRESH_S)
    has_holdout = definition.guardrails.holdout is not None
    return desk.page(request, template, policy=policy, job=job, has_holdout=has_holdout)


async def advice(desk: Desk, request: Request) -> Response:
    """Show for each segment whether to stop."""
    policy = request.path_params["policy"]
    look_right(request, policy)
    desk.definition(policy)

    async def work(on_progress: OnProgress) -> Found | None:
        await check_length(desk)
        return await advise_policy(desk.settings.broker, policy, TRAFFIC_MS, Rule(), on_progress)

    job = desk.jobs.ask(f"advice {policy}", work, fresh_s=ADVICE_FRESH_S)
    found: Found | None = job.result
    said = [] if found is None else [(one, verdict(one)) for one in found.segments]
    return desk.page(request, "_advice.html", policy=policy, job=job, said=said, rule=Rule())


def known_lift(desk: Desk, policy: str) -> Job | None:
    """Return a lift that was worked out before, however old."""
    job = desk.jobs.find(f"lift {policy}")
    return job if job is not None and job.is_done else None


async def _report(desk: Desk, policy: str, on_progress: OnProgress) -> dict[str, Any]:
    await check_length(desk)
    return await report_on(desk.settings.broker, policy, on_progress=on_progress)


async def check_length(desk: Desk) -> None:
    """Refuse a ledger that is longer than a page may read. Raises ConfigError, with the command that reads it."""
    length, most = await length_of(desk.settings.broker, REWARDS), desk.settings.ledger_records
    if length > most:
        raise ConfigError(
            "not worked out",
            [f"the ledger has {length:,} records, a page reads at most {most:,} (--ledger-records): pipeline report"],
        )


async def length_of(broker: Address, topic: str) -> int:
    """Return how many offsets a topic holds. Raises UnavailableError where nobody tells."""
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        ends, begins = await follower.ends(), await follower.first_offsets()
    finally:
        await follower.stop()
    return sum(ends.values()) - sum(begins.values())
