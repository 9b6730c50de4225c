"""`pipeline advise`."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.analyze.analyze import Settings
from pipeline.cli import options
from pipeline.cli.advise_by_context import advise_by_context
from pipeline.cli.directives import read_book
from pipeline.cli.snapshots import find_snapshot, read_published
from pipeline.errors import ConfigError
from pipeline.evaluate.design_effect import Seen, design_effect, seen_by_segment
from pipeline.evaluate.ledger import Entry
from pipeline.evaluate.read import OnProgress, gather_ledger
from pipeline.learn.memory import RowKey
from pipeline.models.advice import Advice, Rule
from pipeline.models.advice import advise as advise_on
from pipeline.models.beliefs import NormalBeliefs, beliefs_of
from pipeline.models.grid import Grid
from pipeline.models.regressions.stratified import stratified
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.strata import Cut, cut
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.durations import duration_text, parse_duration_ms
from pipeline.policy.guardrails import Switches
from pipeline.publish.maturity import is_corrected
from pipeline.replay.proof.present import read_statistics
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot
from pipeline.stream.log.topics import SNAPSHOT_HISTORY
from pipeline.stream.security import Address

MINUTE_MS = 60_000
BY_DECISION = "nobody is known. Where the same people come often, it is less sure than this says: send subject_hash"


class Worth(NamedTuple):
    """Whom the decisions of a segment were made for, and how many of them count as one."""

    by: str
    subjects: int
    """Subjects, and beside them decisions that have none."""
    without_subject: int
    """Decisions of nobody known."""
    design_effect: float
    """Decisions that are worth an independent one, at least 1."""


NOBODY_KNOWN = Worth("decision", 0, 0, 1.0)


class SegmentAdvice(NamedTuple):
    """What is said of one segment."""

    segment: str
    arms: tuple[str, ...]
    """Active ones, sorted."""
    counts: list[int]
    means: list[float]
    advice: Advice
    needed: int | None
    """Decisions that are still to come, all arms together; None: it can't be told."""
    needed_ms: int | None
    """How long that takes at the present traffic."""
    basis: str
    """What the arms are compared by, in words."""
    left_out: Mapping[str, str]
    """Active arms that are not compared: why, by arm."""
    worth: Worth
    """How much of independent decisions the evidence is worth."""

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        advice = self.advice
        return {
            "segment": self.segment,
            "leader": self.arms[advice.leader],
            "may_stop": advice.may_stop,
            "is_sure": advice.is_sure,
            "decisions_needed": self.needed,
            "time_needed_ms": self.needed_ms,
            "by": self.worth.by,
            "subjects": self.worth.subjects,
            "without_subject": self.worth.without_subject,
            "design_effect": self.worth.design_effect,
            "basis": self.basis,
            "left_out": dict(self.left_out),
            "arms": [
                {"arm": arm, "count": count, "mean": mean, "p_best": best, "expected_loss": loss}
                for arm, count, mean, best, loss in zip(
                    self.arms, self.counts, self.means, advice.best.tolist(), advice.losses.tolist(), strict=True
                )
            ],
        }


@click.command()
@options.broker_address
@click.argument("policy_name", metavar="POLICY")
@click.option("--confidence", type=click.FloatRange(0.5, 1.0), default=Rule().confidence, show_default=True,
              help="P(best) from which on an arm is surely the best.")  # fmt: skip
@click.option("--loss", type=click.FloatRange(0.0, 1.0, min_open=True), default=Rule().loss, show_default=True,
              help="Most expected loss by choosing now, as a part of the leading mean.")  # fmt: skip
@click.option("--min-decisions", type=click.IntRange(1), default=Rule().decisions, show_default=True,
              help="Least decisions of every arm.")  # fmt: skip
@click.option(
    "--generation",
    envvar="PIPELINE_ADVISE_GENERATION",
    type=click.IntRange(1),
    help="By whose statistics, and their last snapshot; if not given, those of the latest snapshot. Of a policy that "
    "learns from context as `pipeline analyze` has it. [PIPELINE_ADVISE_GENERATION]",
)
@click.option("--traffic-of", default="1d", show_default=True, help="How far back the present traffic is measured.")
@options.as_json
def advise(
    broker: Address,
    policy_name: str,
    generation: int | None,
    confidence: float,
    loss: float,
    min_decisions: int,
    traffic_of: str,
    as_json: bool,
) -> None:
    """Say for each segment whether its best arm may be chosen for good, and if not, how long that will take.

    An arm may be chosen when that is expected to cost less than --loss of its mean, per decision. That may be asked as
    often as one likes. Arms are compared within stretches of time, so that a level that moves while shares move is no
    difference; those that are killed, or that a rule keeps from some visitors, are no choice for everybody, and told
    apart. People who come back are alike, so evidence counts by subject, as far back as `decisions` reaches.
    Exit code 0: every segment may stop. 1: one or more should go on, or nothing was decided yet.

    Of a policy that learns from context three sentences say which arm is for whom, whether context is worth it and what
    is missing, from its ledger (all else of it: `pipeline analyze`). Exit code 0: that can be said. 1: not yet.

    \b
    Example:
      pipeline advise homepage --loss 0.005
    """
    traffic_ms = parse_duration_ms(traffic_of)
    if traffic_ms is None:
        raise click.UsageError(f'--traffic-of is {traffic_of!r}, expected a whole number and a unit, like "1d"')
    rule = Rule(confidence, loss, min_decisions)
    found = asyncio.run(advise_policy(broker, policy_name, traffic_ms, rule, generation=generation))
    if found is None:
        settings = Settings(traffic_ms=traffic_ms, stopping=rule)
        advise_by_context(broker, policy_name, settings, generation, as_json=as_json)
    if as_json:
        segments = [one.to_plain() for one in found.segments]
        click.echo(orjson.dumps({"policy": policy_name, "version": found.version, "segments": segments}))
    else:
        for one in found.segments:
            _print(one)
        if not found.segments:
            click.echo(f"{policy_name}: go on: its latest snapshot, {found.version}, has no decision yet")
    sys.exit(0 if found.may_stop else 1)


class Found(NamedTuple):
    """What is said of a policy."""

    version: int
    segments: list[SegmentAdvice]

    @property
    def may_stop(self) -> bool:
        """Whether there is something to go by, and every segment may stop."""
        return bool(self.segments) and all(one.advice.may_stop for one in self.segments)


async def advise_policy(
    broker: Address,
    policy: str,
    traffic_ms: int,
    rule: Rule,
    on_progress: OnProgress = lambda _done, _total: None,
    generation: int | None = None,
) -> Found | None:
    """Return what is said of each segment; None of a policy that learns from context. Reads the ledger."""
    history = await read_published(broker, SNAPSHOT_HISTORY, policy)
    version = None if generation is None else _last_of(generation, [one.fields for one in history])
    latest = await find_snapshot(broker, policy, version)
    record = latest.fields
    if load_snapshot(latest.content).needs_context:
        return None
    before = earlier([one.fields for one in history], record, traffic_ms)
    if before is not None and before["parts"]:
        before = (await find_snapshot(broker, policy, before["version"])).fields
    snapshot = load_snapshot(latest.content)
    rows = await read_statistics(broker, policy, snapshot.definition.generation)
    present = (await read_book(broker)).in_force(policy)
    switches = snapshot.definition.switches if present is None else present.switches
    ledger = await gather_ledger(broker, snapshot.definition, on_progress=on_progress)
    entries = ledger.entries.values()
    return Found(record["version"], advise_segments(snapshot, record, before, rule, rows, switches, entries))


def _last_of(generation: int, history: Sequence[Mapping[str, Any]]) -> int:
    """Return the last version of a generation."""
    versions: list[int] = [one["version"] for one in history if one["generation"] == generation]
    if not versions:
        known = ", ".join(str(one) for one in sorted({one["generation"] for one in history})) or "none"
        raise ConfigError("--generation", [f"no snapshot of generation {generation} is kept; there are of: {known}"])
    return max(versions)


def earlier(history: Sequence[Mapping[str, Any]], latest: Mapping[str, Any], back_ms: int) -> Mapping[str, Any] | None:
    """Return the oldest snapshot of the same generation that lies at most `back_ms` of event time back, if any."""
    since_ms = latest["event_time_ms"] - back_ms
    fitting = [
        one
        for one in history
        if (one["policy"], one["generation"]) == (latest["policy"], latest["generation"])
        and since_ms <= one["event_time_ms"] < latest["event_time_ms"]
    ]
    return min(fitting, key=lambda one: (one["event_time_ms"], one["version"]), default=None)


def advise_segments(
    snapshot: LoadedSnapshot,
    record: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    rule: Rule,
    rows: Iterable[tuple[RowKey, Statistics]] = (),
    switches: Switches | None = None,
    entries: Iterable[Entry] = (),
) -> list[SegmentAdvice]:
    """Advise on every segment that has decisions, of a policy that does not learn from context.

    Args:
        snapshot: the latest.
        record: the same, decoded.
        before: an earlier one, by which traffic is told.
        rule: when to stop.
        rows: what is counted by bucket; of none, arms are compared over all time.
        switches: what is switched off by now; None: what the snapshot says.
        entries: of the ledger, with the subjects that are known; of none, evidence counts by decision.

    Raises:
        ConfigError: no arm is a choice.
    """
    definition = snapshot.definition
    left_out = no_choice(definition, definition.switches if switches is None else switches)
    arms = tuple(arm for arm in snapshot.active if arm not in left_out)
    if not arms:
        faults = [f"{arm} {why}, and no other arm is left to choose" for arm, why in left_out.items()]
        raise ConfigError(f"advise {snapshot.policy}", faults)
    elapsed_ms = 0 if before is None else record["event_time_ms"] - before["event_time_ms"]
    counted_before = {} if before is None else _counts(before)
    by_segment, seen = _by_segment(rows), seen_by_segment(entries, arms)
    found = []
    for entry in record["segments"]:
        segment = entry["segment"]
        known = dict(zip(entry["arms"], entry["counts"], strict=True))
        if not sum(known.values()):
            continue
        posterior = snapshot.segments[segment].of(arms)
        counts = [known[arm] for arm in arms]
        compared = _compare(definition, arms, by_segment.get(segment, {}))
        worth = _worth(definition, seen.get(segment), ALL_TIME if compared is None else compared.time)
        beliefs = (beliefs_of(posterior) if compared is None else compared.beliefs).grown(1.0 / worth.design_effect)
        advice = advise_on(beliefs, counts if compared is None else compared.counts, rule)
        # What fades is not added up: evidence then grows to a bound, and no later.
        grows = advice.growth if definition.forgetting.is_none or advice.may_stop else None
        needed = None if grows is None else round((grows - 1.0) * sum(counts))
        gained = sum(known.values()) - counted_before.get(segment, 0)
        needed_ms = round(needed * elapsed_ms / gained) if needed is not None and elapsed_ms and gained > 0 else None
        means = snapshot.model.estimates(posterior, None).mean.tolist() if compared is None else compared.means
        basis = OVER_ALL_TIME if compared is None else compared.basis
        found.append(SegmentAdvice(segment, arms, counts, means, advice, needed, needed_ms, basis, left_out, worth))
    return found


OVER_ALL_TIME = "over all time"
ALL_TIME = Cut((), None, 0)
BEFORE = -1
"""The stratum of what came before all strata."""


class Compared(NamedTuple):
    """Arms within strata of time."""

    beliefs: NormalBeliefs
    counts: list[int]
    means: list[float]
    basis: str
    time: Cut
    """The stretches."""


def no_choice(definition: PolicyDefinition, switches: Switches) -> dict[str, str]:
    """Return the active arms that can't be shown to everybody, with the reason."""
    ruled = {arm for rule in definition.guardrails.eligibility for arm in rule.arms}
    return {
        arm: "is killed" if arm in switches.arms else "is kept from some visitors by a rule"
        for arm in definition.active_arms
        if arm in switches.arms or arm in ruled
    }


def _compare(
    definition: PolicyDefinition, arms: Sequence[str], cells: Mapping[tuple[str, int], Statistics]
) -> Compared | None:
    """Compare arms within strata of time; None where that is no other comparison, or rewards are not sums of rows."""
    if definition.reward.is_weighted or is_corrected(definition) or len(arms) < 2 or not cells:
        return None
    newest = max(bucket for _, bucket in cells)
    weights = {
        bucket: definition.forgetting.weight_for((newest - bucket) * definition.bucket_ms) for _, bucket in cells
    }
    found = cut(cells, arms, weights)
    if not found.strata or (len(found.strata) == 1 and not found.left_out):
        return None
    means, errors = stratified(found.strata, Grid(definition.reward_exponent))
    counts = [sum(stratum.arms[place].n for stratum in found.strata) for place in range(len(arms))]
    basis = f"within {len(found.strata)} stretches of time"
    if found.left_out:
        basis += f", since the last of the arms came ({found.left_out:,} decisions before)"
    return Compared(NormalBeliefs(means, errors), counts, means.tolist(), basis, found)


def _worth(definition: PolicyDefinition, seen: Seen | None, time: Cut) -> Worth:
    """Say how many decisions count as one, within the same stretches of time as the arms are compared in."""
    if seen is None:
        return NOBODY_KNOWN
    bucket = seen.decided_at_ms // definition.bucket_ms
    stratum = np.searchsorted([one.last for one in time.strata[:-1]], bucket, side="left").astype(np.int64)
    if time.first is not None:
        stratum[bucket < time.first] = BEFORE
    total = sum(one.weight for one in time.strata)
    weights = {at: one.weight / total for at, one in enumerate(time.strata)} or {0: 1.0}
    return Worth(seen.by, seen.subjects, seen.without_subject, design_effect(seen, stratum, weights))


def _by_segment(rows: Iterable[tuple[RowKey, Statistics]]) -> dict[str, dict[tuple[str, int], Statistics]]:
    found: defaultdict[str, dict[tuple[str, int], Statistics]] = defaultdict(dict)
    for key, row in rows:
        if not key.tally:
            found[key.segment][key.arm, key.bucket] = row
    return found


def _counts(record: Mapping[str, Any]) -> dict[str, int]:
    return {segment["segment"]: sum(segment["counts"]) for segment in record["segments"]}


def _print(one: SegmentAdvice) -> None:
    click.echo(f"{one.segment}: {verdict(one)}")
    click.echo(f"  compared {one.basis}")
    click.echo(f"  by {one.worth.by}: {_worth_in_words(one.worth)}")
    for arm, why in one.left_out.items():
        click.echo(f"  not compared: {arm} {why}")
    table = Table("arm", "count", "mean", "P(best)", "expected loss")
    for row in one.to_plain()["arms"]:
        table.add_row(
            Text(row["arm"]),
            f"{row['count']:,}",
            f"{row['mean']:.5f}",
            f"{row['p_best']:.4f}",
            f"{row['expected_loss']:.2g}",
        )
    Console().print(table)


def _worth_in_words(worth: Worth) -> str:
    if worth.by == "decision":
        return BY_DECISION
    known = f"{worth.subjects:,} of them, and {worth.design_effect:.3g} decisions count as an independent one"
    return f"{known}; of {worth.without_subject:,} decisions nobody is known" if worth.without_subject else known


def verdict(one: SegmentAdvice) -> str:
    """Say in words whether to stop in a segment, and if not, when."""
    leader, advice = one.arms[one.advice.leader], one.advice
    if advice.may_stop:
        return f"choose {leader}: it is the best" if advice.is_sure else f"choose {leader}: it is as good as any"
    if one.needed is None:
        return f"go on: {leader} leads; how long it takes can't be told"
    time = "" if one.needed_ms is None else f", {duration_text(-(-one.needed_ms // MINUTE_MS) * MINUTE_MS)} of traffic"
    return f"go on: {leader} leads; about {one.needed:,} decisions more{time}"
