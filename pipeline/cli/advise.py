"""`pipeline advise`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli import options
from pipeline.cli.snapshots import find_snapshot, read_published
from pipeline.errors import ConfigError
from pipeline.models.advice import Advice, Rule
from pipeline.models.advice import advise as advise_on
from pipeline.models.beliefs import beliefs_of
from pipeline.policy.durations import duration_text, parse_duration_ms
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot
from pipeline.stream.log.topics import SNAPSHOT_HISTORY
from pipeline.stream.security import Address

MINUTE_MS = 60_000


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
@click.option("--traffic-of", default="1d", show_default=True, help="How far back the present traffic is measured.")
@options.as_json
def advise(
    broker: Address,
    policy_name: str,
    confidence: float,
    loss: float,
    min_decisions: int,
    traffic_of: str,
    as_json: bool,
) -> None:
    """Say for each segment whether its best arm may be chosen for good, and if not, how long that will take.

    An arm may be chosen when that is expected to cost less than --loss of its mean, per decision. That may be asked as
    often as one likes. Exit code 0: every segment may stop. 1: one or more should go on.

    \b
    Example:
      pipeline advise homepage --loss 0.005
    """
    traffic_ms = parse_duration_ms(traffic_of)
    if traffic_ms is None:
        raise click.UsageError(f'--traffic-of is {traffic_of!r}, expected a whole number and a unit, like "1d"')
    latest = asyncio.run(find_snapshot(broker, policy_name, None))
    record = latest.fields
    history = asyncio.run(read_published(broker, SNAPSHOT_HISTORY, policy_name))
    before = earlier([one.fields for one in history], record, traffic_ms)
    if before is not None and before["parts"]:
        before = asyncio.run(find_snapshot(broker, policy_name, before["version"])).fields
    rule = Rule(confidence, loss, min_decisions)
    found = advise_segments(load_snapshot(latest.content), record, before, rule)
    if as_json:
        plain = {"policy": policy_name, "version": record["version"], "segments": [one.to_plain() for one in found]}
        click.echo(orjson.dumps(plain))
    else:
        for one in found:
            _print(one)
    sys.exit(0 if all(one.advice.may_stop for one in found) else 1)


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
    snapshot: LoadedSnapshot, record: Mapping[str, Any], before: Mapping[str, Any] | None, rule: Rule
) -> list[SegmentAdvice]:
    """Advise on every segment that has decisions.

    Raises:
        ConfigError: the policy learns from context, so that no one arm is the best.
    """
    if snapshot.needs_context:
        fault = f"{snapshot.model.name} learns which arm is best in which context: there is no one to choose for good"
        raise ConfigError(f"advise {snapshot.policy}", [fault])
    elapsed_ms = 0 if before is None else record["event_time_ms"] - before["event_time_ms"]
    counted_before = {} if before is None else _counts(before)
    found = []
    for entry in record["segments"]:
        segment = entry["segment"]
        known = dict(zip(entry["arms"], entry["counts"], strict=True))
        if not sum(known.values()):
            continue
        posterior = snapshot.segments[segment].of(snapshot.active)
        counts = [known[arm] for arm in snapshot.active]
        advice = advise_on(beliefs_of(posterior), counts, rule)
        # What fades is not added up: evidence then grows to a bound, and no later.
        grows = advice.growth if snapshot.definition.forgetting.is_none or advice.may_stop else None
        needed = None if grows is None else round((grows - 1.0) * sum(counts))
        gained = sum(known.values()) - counted_before.get(segment, 0)
        needed_ms = round(needed * elapsed_ms / gained) if needed is not None and elapsed_ms and gained > 0 else None
        means = snapshot.model.estimates(posterior, None).mean.tolist()
        found.append(SegmentAdvice(segment, snapshot.active, counts, means, advice, needed, needed_ms))
    return found


def _counts(record: Mapping[str, Any]) -> dict[str, int]:
    return {segment["segment"]: sum(segment["counts"]) for segment in record["segments"]}


def _print(one: SegmentAdvice) -> None:
    click.echo(f"{one.segment}: {_verdict(one)}")
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


def _verdict(one: SegmentAdvice) -> str:
    leader, advice = one.arms[one.advice.leader], one.advice
    if advice.may_stop:
        return f"choose {leader}: it is the best" if advice.is_sure else f"choose {leader}: it is as good as any"
    if one.needed is None:
        return f"go on: {leader} leads; how long it takes can't be told"
    time = "" if one.needed_ms is None else f", {duration_text(-(-one.needed_ms // MINUTE_MS) * MINUTE_MS)} of traffic"
    return f"go on: {leader} leads; about {one.needed:,} decisions more{time}"
