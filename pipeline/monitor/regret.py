"""What the last day forwent against the best arm of each segment in hindsight, with an interval. Pure.

With means μ and n_a decisions of arm a in a segment, N in all, the regret against arm b is L_b = N μ_b - Σ n_a μ_a, and
that against the best max_b L_b: at least its largest lower bound, at most its largest upper bound, all of which hold at
once by Bonferroni. Arms with fewer than `ROW_FEWEST` decisions are no candidates for the best: nobody knows them.
"""

from __future__ import annotations

from collections import defaultdict

from pipeline.models.sums.statistics import Statistics
from pipeline.monitor.compare import DESIGN
from pipeline.monitor.reading import Figure, Monitor, Reading
from pipeline.monitor.rewards import moments
from pipeline.monitor.view import ROW_FEWEST, View


def read(view: View) -> Reading:
    """Estimate it."""
    period = view.earned.recent
    if view.earned.withheld == "few":
        return Reading(withheld="few")
    segments: defaultdict[str, list[Statistics]] = defaultdict(list)
    for (segment, _), row in period.rows.items():
        segments[segment].append(row)
    tried = [rows for rows in segments.values() if sum(row.n >= ROW_FEWEST for row in rows) > 1]
    if not tried:
        return Reading(withheld="one-arm")
    step = 2.0**-view.definition.reward_exponent
    deviations = view.deviations(sum(map(len, tried)))
    lowest, middle, highest = map(sum, zip(*(regret_of(rows, step, deviations) for rows in tried), strict=True))
    best = middle + sum(row.reward_sum * step for rows in tried for row in rows)
    if best <= 0.0:
        return Reading(withheld="not-positive")
    figures = (
        Figure("regret_ratio", middle / best),
        Figure("regret_low_ratio", lowest / best),
        Figure("regret_high_ratio", highest / best),
    )
    return Reading(figures, lowest / best > view.threshold("regret"))


def regret_of(rows: list[Statistics], step: float, deviations: float) -> tuple[float, float, float]:
    """Return a segment's regret at the least, as it seems, and at the most, in units of reward."""
    count = sum(row.n for row in rows)
    known = [(row.n, *moments(row, step)) for row in rows]
    total, noise = sum(n * mean for n, mean, _ in known), sum(n * variance for n, _, variance in known)
    bounds = [(0.0, 0.0, 0.0)]
    for n, mean, variance in known:
        if n >= ROW_FEWEST:
            against = count * mean - total
            reach = deviations * (DESIGN * ((count - n) ** 2 * variance / n + noise - n * variance)) ** 0.5
            bounds.append((against - reach, against, against + reach))
    return max(bound[0] for bound in bounds), max(bound[1] for bound in bounds), max(bound[2] for bound in bounds)


MONITOR = Monitor(
    "regret",
    "what the last day that is over forwent against the best arm of each segment in hindsight, at the least",
    "a day and the attribution window",
    read,
)
