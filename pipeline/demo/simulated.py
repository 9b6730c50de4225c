"""The demo on simulated visitors: a worker, two serving nodes, and a policy that learns while they come."""

from __future__ import annotations

import asyncio
import secrets
import time
from importlib import resources
from pathlib import Path

import numpy as np

from pipeline.brokers import Broker
from pipeline.brokers.ports import HOST, free_ports
from pipeline.demo.console import Stay, start_console
from pipeline.demo.failure import DemoError
from pipeline.demo.freshness import Freshness, FreshnessReport
from pipeline.demo.play import Play, snapshots_of
from pipeline.demo.processes import beside
from pipeline.demo.progress import Frame, Progress
from pipeline.demo.regret import ab_test_choices, cumulative_regret, last_third_shares, uniform_choices
from pipeline.demo.report import ArmRow, Curves, VisitorsReport
from pipeline.demo.stage import Apply, Stage, staged
from pipeline.demo.visitors import ARMS, SEGMENTS, Visitors, simulate_visitors, true_means
from pipeline.demo.watch import Published, Watch
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy
from pipeline.serve.following.snapshot import load_snapshot

NODES = 2
VISITORS_A_SECOND = 60.0
LONGEST_QUEUE = 250
"""Visitors wait while so many decisions are in no snapshot yet: what is slow is given time, not a backlog."""
LONGEST_PLAY_S = 80.0
LATE_BY = 1.3
"""But not for ever: as much longer than it should take, and at least `LONGEST_PLAY_S`."""
SHORTEST_PLAY_S = 20.0
"""Outcomes take seconds to come: whoever is done sooner has learned from few of them."""
READY_WITHIN_S = 60.0
SETTLED_WITHIN_S = 90.0
LEFT_OUT_MS = 5_000
"""Outcomes of the last seconds are left out of freshness: of them, only the quick could be known in time."""
_POLL_S = 0.1


async def play_visitors(
    broker: Broker,
    count: int,
    seed: int,
    apply: Apply,
    progress: Progress,
    *,
    partitions: int,
    workers: int,
    stay: Stay | None = None,
) -> VisitorsReport:
    """Let `count` visitors come, wait until all they did has settled, and compare; then stay up if somebody asked.

    Raises:
        DemoError: a process ended, something was not settled, or the policy has not learned.
    """
    definition = homepage_policy()
    visitors = simulate_visitors(count, seed)
    freshness = Freshness()
    async with (
        staged(broker, definition, apply, partitions=partitions, workers=workers) as stage,
        Watch(
            stage.broker,
            definition.name,
            on_snapshot=lambda snapshot: freshness.note_snapshot(snapshot.version, snapshot.ledger_offsets),
        ) as watch,
    ):
        nodes = _start_nodes(stage)
        if stay is not None:
            stay.on_console(*start_console(stage, nodes), nodes)
        play = Play(visitors, definition.name, nodes, freshness)
        played = _play(play, watch, progress, nodes, definition.name)
        seconds, snapshot = await beside(played, watch.follow(), stage.processes.watch())
        report = _measured(definition, visitors, play, watch, snapshot, freshness, seed, seconds)
        if stay is not None:
            stay.on_report(report)
            await stage.processes.watch()
    return report


def homepage_policy() -> PolicyDefinition:
    """Read the policy of `ops/policies/homepage.toml`, which a wheel carries inside this package."""
    packaged = resources.files("pipeline.demo").joinpath("policies", "homepage.toml")
    in_checkout = Path(__file__).parents[2].joinpath("ops", "policies", "homepage.toml")
    text = packaged.read_text("utf-8") if packaged.is_file() else in_checkout.read_text("utf-8")
    return load_policy(text, "homepage.toml")


def play_seconds(count: int) -> float:
    """Return how long visitors take to come."""
    return max(count / VISITORS_A_SECOND, SHORTEST_PLAY_S)


def _start_nodes(stage: Stage) -> list[str]:
    ports = free_ports(NODES)
    salt = secrets.token_hex(16)
    for number, port in enumerate(ports, start=1):
        arguments = ["serve", "--broker", stage.broker, "--host", HOST, "--port", str(port)]
        stage.processes.start(f"node-{number}", arguments, {"PIPELINE_SUBJECT_SALT": salt})
    return [f"http://{HOST}:{port}" for port in ports]


async def _play(play: Play, watch: Watch, progress: Progress, nodes: list[str], policy: str) -> tuple[float, Published]:
    """Play to the end; return how long it took, and the snapshot that holds everything."""
    await _ready(nodes, policy)
    play_s = play_seconds(len(play.visitors))
    longest_s = max(LATE_BY * play_s, LONGEST_PLAY_S)
    started_s = time.monotonic()
    shown = asyncio.create_task(_show(play, watch, progress))
    try:
        await play.run(play_s, longest_s, lambda: play.decisions - watch.counted < LONGEST_QUEUE)
        snapshot = await _settled(play, watch)
    finally:
        shown.cancel()
    return round(time.monotonic() - started_s, 3), snapshot


async def _ready(nodes: list[str], policy: str) -> None:
    """Wait until every node has a live snapshot of the policy."""
    deadline_s = time.monotonic() + READY_WITHIN_S
    for node in nodes:
        while policy not in await snapshots_of(node):
            if time.monotonic() > deadline_s:
                raise DemoError(f"{node} has no snapshot of {policy} after {READY_WITHIN_S:.0f} s")
            await asyncio.sleep(_POLL_S)


async def _settled(play: Play, watch: Watch) -> Published:
    """Wait until every decision has settled, every outcome is credited, and a snapshot counts all of it."""
    deadline_s = time.monotonic() + SETTLED_WITHIN_S
    recount = watch.recount
    while True:
        if watch.rejected:
            raise DemoError(f"every record should be used, but {watch.refusals()}")
        is_all = len(recount.settled) == play.decisions and len(recount.credited) == play.acts
        if is_all and watch.is_complete and watch.latest is not None:
            return watch.latest
        if time.monotonic() > deadline_s:
            raise DemoError(
                f"{SETTLED_WITHIN_S:.0f} s after the last visitor, {len(recount.settled)} of {play.decisions} "
                f"decisions have settled and {len(recount.credited)} of {play.acts} outcomes are credited; the last "
                f"snapshot {'counts' if watch.is_complete else 'does not count'} all that the ledger says"
            )
        await asyncio.sleep(_POLL_S)


async def _show(play: Play, watch: Watch, progress: Progress) -> None:
    """Show how far the play is, until cancelled."""
    total = len(play.visitors)
    while True:
        left_s = (total - play.decisions) * play_seconds(total) / total if play.is_open else 0.0
        version = 0 if watch.latest is None else watch.latest.version
        phase = "visitors come" if play.is_open else "outcomes settle"
        settled = len(watch.recount.settled)
        progress.show(Frame(phase, play.decisions, total, settled, version, left_s, play.shares()))
        await asyncio.sleep(progress.interval_s)


def _measured(
    definition: PolicyDefinition,
    visitors: Visitors,
    play: Play,
    watch: Watch,
    snapshot: Published,
    freshness: Freshness,
    seed: int,
    seconds: float,
) -> VisitorsReport:
    """Return the report of a play that has learned.

    Raises:
        DemoError: it has not, or nothing was done that freshness could be measured on.
    """
    measured = freshness.report(watch.recount.credited, play.last_decided_ms - LEFT_OUT_MS, play.last_decided_ms)
    if measured is None:
        raise DemoError("nobody did anything that freshness could be measured on: use more --visitors")
    report = _report(definition, visitors, play, watch, snapshot, measured, seed, seconds)
    if faults := report.faults():
        raise DemoError("the policy has not learned: " + "; ".join(faults))
    return report


def _report(
    definition: PolicyDefinition,
    visitors: Visitors,
    play: Play,
    watch: Watch,
    snapshot: Published,
    freshness: FreshnessReport,
    seed: int,
    seconds: float,
) -> VisitorsReport:
    means = true_means(definition.reward)
    # Streams of their own, so that the comparisons don't repeat the visitors' draws.
    uniform_rng, ab_rng = (np.random.default_rng((seed, stream)) for stream in (1, 2))
    rewards = visitors.rewards(definition.reward)[: play.decisions]
    segments, shown = visitors.segments[: play.decisions], play.choices[: play.decisions]
    uniform = uniform_choices(segments, len(ARMS), uniform_rng)
    ab_test = ab_test_choices(segments, rewards, ab_rng)
    shares = last_third_shares(shown, segments, len(SEGMENTS), len(ARMS))
    loaded = load_snapshot(snapshot.content)
    arms = []
    for place, name in enumerate(SEGMENTS):
        segment = loaded.segments[name]
        estimates = loaded.model.estimates(segment.posterior, None)
        for arm, arm_name in enumerate(ARMS):
            interval = (float(column[segment.index[arm_name]]) for column in estimates)
            is_best = arm == int(means[place].argmax())
            share, mean = float(shares[place, arm]), float(means[place, arm])
            arms.append(ArmRow(name, arm_name, is_best, share, mean, *interval))
    return VisitorsReport(
        visitors=len(visitors),
        decisions=play.decisions,
        settled=len(watch.recount.settled),
        rejected=len(watch.rejected),
        seconds=seconds,
        arms=arms,
        curves=Curves(*(cumulative_regret(chosen, segments, means) for chosen in (shown, uniform, ab_test))),
        freshness=freshness,
        snapshot=snapshot.identity(),
    )
