"""What a demo came to, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.demo.logged import LogReport
    from pipeline.demo.report import VisitorsReport

TOP_ARMS = 5


def visitors_table(report: VisitorsReport) -> RenderableType:
    """Show the arms of every segment, the regrets, and the freshness."""
    arms = _table("What the last third of each segment's visitors saw, and what the policy has learned")
    arms.add_column("segment")
    arms.add_column("arm")
    for heading in ("share", "true mean", "posterior mean, 95 %"):
        arms.add_column(heading, justify="right")
    for segment, group in groupby(report.arms, lambda row: row.segment):
        rows = list(group)
        for place, row in enumerate(rows):
            arms.add_row(
                segment if place == 0 else "",
                f"{row.arm} ★" if row.is_best else row.arm,
                f"{row.share:.1%}",
                f"{row.true_mean:.3f}",
                f"{row.mean:.3f}  {row.low:.3f} to {row.high:.3f}",
                style="bold" if row.is_best else "",
                end_section=place == len(rows) - 1,
            )
    regrets = _table("Regret: expected reward lost against the best arm, on the same visitors")
    regrets.add_column("who chose")
    regrets.add_column("regret", justify="right")
    regrets.add_column("of chance's", justify="right")
    policy, uniform, ab_test = (float(curve[-1]) for curve in report.curves)
    for name, regret in (
        ("the policy", policy),
        ("A/B test on a fifth, then its winner", ab_test),
        ("chance", uniform),
    ):
        regrets.add_row(name, f"{regret:,.0f}", f"{regret / uniform:.0%}")
    return Group(arms, Text(""), regrets, Text(""), *_facts(report))


def log_table(report: LogReport) -> RenderableType:
    """Show the best arms of every segment, and the totals."""
    arms = _table(f"The {TOP_ARMS} best items at each position, by posterior mean")
    arms.add_column("position")
    arms.add_column("item")
    for heading in ("shown", "clicks", "posterior mean, 95 %"):
        arms.add_column(heading, justify="right")
    for segment, rows in groupby(report.arms, lambda row: row.segment):
        best = sorted(rows, key=lambda row: row.mean, reverse=True)[:TOP_ARMS]
        for place, row in enumerate(best):
            arms.add_row(
                segment if place == 0 else "",
                row.arm,
                f"{row.count:,}",
                f"{row.reward_sum:,.0f}",
                f"{row.mean:.4f}  {row.low:.4f} to {row.high:.4f}",
                end_section=place == len(best) - 1,
            )
    return Group(
        arms,
        Text(""),
        Text(
            f"{report.decisions:,} decisions and {report.outcomes:,} clicks in {report.seconds:.1f} s; "
            f"{report.settled:,} settled, {report.rejected:,} refused"
        ),
        Text(f"Counts and reward sums of all {len(report.arms)} (position, item) pairs are those of the file"),
        *_snapshot(report.snapshot),
    )


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)


def _facts(report: VisitorsReport) -> Sequence[Text]:
    freshness, snapshot = report.freshness, report.snapshot
    known = f"p50 {freshness.p50_ms:,.0f} ms, p99 {freshness.p99_ms:,.0f} ms over {freshness.outcomes:,} outcomes"
    if freshness.unknown:
        known += f" ({freshness.unknown:,} of them in no decision's snapshot until the last)"
    decisions = f"{report.decisions:,}"
    if report.decisions < report.visitors:
        decisions += f" of {report.visitors:,}, as many as this machine could take in time,"
    return [
        Text(
            f"{decisions} decisions in {report.seconds:.0f} s, {report.settled:,} settled, {report.rejected:,} refused"
        ),
        Text(f"From an outcome to the first decision that knows of it: {known}"),
        *_snapshot(snapshot),
    ]


def _snapshot(snapshot: Mapping[str, str | int]) -> Sequence[Text]:
    return [
        Text(f"Snapshot {snapshot['version']} of {snapshot['policy']}, whose exact statistics hash to"),
        Text(f"  {snapshot['posterior_sha256']}"),
    ]
