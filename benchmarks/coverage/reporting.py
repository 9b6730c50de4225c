"""`pipeline report` on a sample: the lift, the groups' means, and the holdout's share."""

from __future__ import annotations

from math import isnan

from benchmarks.coverage.figures import WITHHELD, Said, interval
from benchmarks.coverage.sample import Sample
from pipeline.evaluate.ledger import Gathering
from pipeline.report.report import report_of
from pipeline.report.tally import tally

SIGNIFICANT = 0.05


def report(sample: Sample, gathering: Gathering) -> dict[str, Said]:
    """Say which figures of a sample's report are right."""
    truth = sample.truth
    counted = tally(gathering.entries.values(), sample.shares)
    found = report_of(gathering.definition, counted, gathering.left_out())
    lift, share = found["lift"], found["holdout_share"]
    said = {
        "report: lift": _interval(lift and lift["difference"], truth.lift),
        "report: lift, at any look": _interval(lift and lift["always"], truth.lift),
        "report: holdout's share": _share(share["p_value"]),
        "report: holdout's share, at any look": _share(share["p_value_always"]),
    }
    for group, mean in (("policy", truth.policy), ("holdout", truth.holdout)):
        if not isnan(mean):
            said[f"report: mean of the {group}"] = _interval(found["groups"][group]["interval"], mean)
    if truth.holdout > 0.0:
        said["report: lift, relative"] = _interval(lift and lift["relative"], truth.lift / truth.holdout)
    return said


def _interval(found: dict[str, float] | None, truth: float) -> Said:
    return WITHHELD if found is None else interval(found["low"], found["high"], truth)


def _share(p_value: float | None) -> Said:
    return WITHHELD if p_value is None else Said(p_value >= SIGNIFICANT)
