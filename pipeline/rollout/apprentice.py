"""What an apprentice would have shown and earned where another policy decided → named figures. Pure.

Its log are the decisions that it learned from: drawn by the policy that it follows, with that one's propensities. It
is asked as `pipeline evaluate` asks a policy: by five of itself, each of which learned from four fifths of the subjects
and is asked about the others, through the node's own functions.

    match   mean of π(shown arm | x)                            how often it would have shown the same
    value   DR of what it would have earned, `shown` what was
    gain    DR less what was earned, decision by decision

Intervals are by subject, for as often as one looks: bootstrap's, with the error of `report/always.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.evaluate.estimators import Parts, all_parts, what_one_more_may_earn
from pipeline.evaluate.evaluate import prepare, terms_of
from pipeline.evaluate.intervals import bootstrap
from pipeline.evaluate.learned import learned_elsewhere
from pipeline.evaluate.ledger import Gathering
from pipeline.evaluate.log import DecisionLog
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.figure_condition import APPRENTICE_FIGURES, Figures
from pipeline.report.always import error_at
from pipeline.report.interval import ERROR

RESAMPLES = 4_000
"""Twelve of which lie beyond the end of an interval for any look at a thousand subjects."""
FEW_SUBJECTS = 30
"""Below, nothing is told."""
HOUR_MS = 3_600_000


def learned_from(gathering: Gathering, of: str) -> Gathering:
    """Return the decisions that the policy `of` drew for its apprentice."""
    kept = {
        key: entry
        for key, entry in gathering.entries.items()
        if entry.decision is not None and f"apprentice:{of}" in entry.decision.guardrails
    }
    return replace(gathering, entries=kept)


def apprentice_figures(
    log: DecisionLog, definition: PolicyDefinition, now_ms: int, rng: np.random.Generator
) -> Figures:
    """Return the figures; those that can't be told yet are None.

    Args:
        log: decisions that another policy drew and this one learned from.
        definition: of the apprentice.
        now_ms: when it is looked at.
        rng: of resamples.

    Raises:
        ConfigError: the log has arms that are none of the apprentice's.
    """
    found: dict[str, float | None] = dict.fromkeys(APPRENTICE_FIGURES)
    clusters = log.clusters
    found |= {
        "subjects": float(clusters.how_many),
        "decisions": float(len(log)),
        "value.shown": log.mean_reward,
        "hours": (now_ms - int(log.decided_at_ms.min())) / HOUR_MS,
    }
    if clusters.how_many < FEW_SUBJECTS:
        return found
    terms, _, _, bound = terms_of(prepare(log, definition.features), learned_elsewhere("apprentice", definition, log))
    estimators = all_parts(terms, clip=float(len(log)) ** 0.5, bounds=log.bounds, weight_bound=bound)
    value = next(part for part in estimators if part.name == "DR")
    low, high = what_one_more_may_earn(log.reward, log.bounds)
    one = np.ones(len(log))
    parts = [
        Parts("match", terms.weight * log.propensity, one, None, (0.0, 1.0), (1.0, 1.0)),
        value._replace(name="value"),
        Parts(
            "gain",
            value.numerator - log.reward,
            one,
            None,
            (value.least[0] - low, value.least[1]),
            (value.most[0] - high, value.most[1]),
        ),
    ]
    by_subject = [part.added_up(clusters.unit, clusters.how_many) for part in parts]
    ends = bootstrap(by_subject, rng, RESAMPLES, 1.0 - error_at(clusters.how_many, ERROR))
    for part, end in zip(parts, ends, strict=True):
        found |= {f"{part.name}.value": part.estimate, f"{part.name}.low": end.low, f"{part.name}.high": end.high}
    return found
