"""What a demo came to, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.demo.logged import LogReport
    from pipeline.demo.report import VisitorsReport

TOP_ARMS = 5


def visitors_table(report: VisitorsReport) -> RenderableType:
    """Show the arms of every segment, the regrets, and the freshness."""
    arms = Table(title="What the policy showed, and what it learned", title_justify="left")
    arms.add_column("segment")
    arms.add_column("arm")
    for heading in ("share of the last third", "true mean", "posterior mean", "95 % interval"):
        arms.add_column(heading, justify="right")
    for segment, group in groupby(report.arms, lambda row: row.segment):
        rows = list(group)
        for place, row in enumerate(rows):
            arms.add_row(
                segment if place == 0 else "",
                f"{row.arm} ★" if row.is_best else row.arm,
                f"{row.share:.1%}",
                f"{row.true_mean:.3f}",
                f"{row.mean:.3f}",
                f"{row.low:.3f} to {row.high:.3f}",
                style="bold" if row.is_best else "",
                end_section=place == len(rows) - 1,
            )
    regrets = Table(
        title="Regret on the same visitors: expected reward lost against the best arm", title_justify="left"
    )
    regrets.add_column("")
    regrets.add_column("regret", justify="right")
    regrets.add_column("of chance's", justify="right")
    policy, uniform, ab_test = (float(curve[-1]) for curve in report.curves)
    for name, regret in (
        ("the policy", policy),
        ("A/B test on a fifth, then its winner", ab_test),
        ("every arm by chance", uniform),
    ):
        regrets.add_row(name, f"{regret:,.0f}", f"{regret / uniform:.0%}")
    return Group(arms, Text(""), regrets, Text(""), *_facts(report))


def log_table(report: LogReport) -> RenderableType:
    """Show the best arms of every segment, and the totals."""
    arms = Table(title=f"The {TOP_ARMS} best items at each position, by posterior mean", title_justify="left")
    arms.add_column("position")
    arms.add_column("item")
    for heading in ("shown", "clicks", "posterior mean", "95 % interval"):
        arms.add_column(heading, justify="right")
    for segment, rows in groupby(report.arms, lambda row: row.segment):
        best = sorted(rows, key=lambda row: row.mean, reverse=True)[:TOP_ARMS]
        for place, row in enumerate(best):
            arms.add_row(
                segment if place == 0 else "",
                row.arm,
                f"{row.count:,}",
                f"{row.reward_sum:,.0f}",
                f"{row.mean:.4f}",
                f"{row.low:.4f} to {row.high:.4f}",
                end_section=place == len(best) - 1,
            )
    snapshot = report.snapshot
    return Group(
        arms,
        Text(""),
        Text(
            f"{report.decisions:,} decisions and {report.outcomes:,} clicks in {report.seconds:.1f} s; "
            f"{report.settled:,} settled, {report.rejected:,} refused"
        ),
        Text(f"Every count and reward sum of {len(report.arms)} (position, item) pairs is that of the file"),
        Text(f"Snapshot {snapshot['version']} of {snapshot['policy']}, posterior {snapshot['posterior_sha256']}"),
    )


def _facts(report: VisitorsReport) -> Sequence[Text]:
    freshness, snapshot = report.freshness, report.snapshot
    return [
        Text(
            f"{report.decisions:,} decisions in {report.seconds:.0f} s, {report.settled:,} settled, "
            f"{report.rejected:,} refused"
        ),
        Text(
            f"Outcome sent → first decision that knows of it: {freshness.p50_ms:.0f} ms in the middle (p50), "
            f"{freshness.p99_ms:.0f} ms at p99, over {freshness.outcomes:,} outcomes"
        ),
        Text(f"Snapshot {snapshot['version']} of {snapshot['policy']}, posterior {snapshot['posterior_sha256']}"),
    ]
