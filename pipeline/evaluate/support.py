"""Whether a log can answer the question at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.evaluate.log import Clusters
from pipeline.models.model import Floats

FEW = 100.0
"""Below so many effective decisions, an interval is little more than a guess."""
UNSUPPORTED = 0.01
"""The part of the target's decisions that the log may have no example of."""
HEAVY = 0.2
"""One decision that makes up more than this of all weight decides the estimate alone."""
ASTRAY = 4.0
"""Standard errors: the weights' mean is 1 if the propensities are true."""
FEW_SUBJECTS = 30
"""Below, an interval by subject stands on too few."""
FEW_REWARDS = 5
"""Rewarded decisions that the target would have made as well."""


class Support(NamedTuple):
    """What there is to answer from."""

    decisions: int
    """N."""
    effective: float
    """(Σw)² / Σw²: as many unweighted decisions would say as much."""
    mean_weight: float
    """1, but for chance, where the propensities are true."""
    largest_share: float
    """Part of all weight that the heaviest decision has."""
    unsupported: float
    """Mean chance that the target shows an arm that the log never could."""
    unanswered: float
    """Part of the decisions in which the target has nothing to show."""
    rewarded: int
    """Decisions with a reward and a weight above 0."""


def measure_support(weight: Floats, reward: Floats, unsupported: float, unanswered: float = 0.0) -> Support:
    """Measure it."""
    total, square = float(weight.sum()), float(weight @ weight)
    return Support(
        decisions=len(weight),
        effective=total * total / square if square else 0.0,
        mean_weight=float(weight.mean()),
        largest_share=float(weight.max()) / total if total else 1.0,
        unsupported=unsupported,
        unanswered=unanswered,
        rewarded=int(((weight > 0.0) & (reward != 0.0)).sum()),
    )


def warnings_of(support: Support, weight: Floats) -> list[str]:
    """Say in words where the log doesn't support the question."""
    said = []
    if support.effective < FEW:
        said.append(
            f"the log is worth {support.effective:.0f} decisions for this policy, {FEW:.0f} are needed: it rarely "
            "showed what the policy would show. Log more, or with a higher floor"
        )
    if support.unsupported > UNSUPPORTED:
        said.append(
            f"{support.unsupported:.1%} of its decisions are arms that the log never showed there: of those only the "
            "reward model (DM, DR) says anything"
        )
    if support.unanswered:
        said.append(
            f"in {support.unanswered:.1%} of the decisions it has nothing to show of what was on offer: they count as "
            "no reward"
        )
    if support.largest_share > HEAVY:
        said.append(f"one decision carries {support.largest_share:.0%} of all weight: look at clipped IPS and SNIPS")
    spread = float(weight.std(ddof=1)) / np.sqrt(len(weight)) if len(weight) > 1 else 0.0
    expected = 1.0 - support.unsupported - support.unanswered
    missing = abs(support.mean_weight - expected)
    if spread and missing > ASTRAY * spread:
        said.append(
            f"the weights' mean is {support.mean_weight:.3f} where true propensities would give "
            f"{expected:.3f} ± {spread:.3f}: the logged propensities are not those that the arms "
            "were drawn with"
        )
    if support.rewarded < FEW_REWARDS:
        said.append(f"only {support.rewarded} rewarded decisions have any weight: the estimate stands on those")
    return said


def warnings_by(clusters: Clusters) -> list[str]:
    """Say in words what the intervals take for independent, where that may be wrong."""
    said = []
    if clusters.by == "action":
        said.append(
            "by action: the log names no subjects, so intervals hold only if nobody comes twice. Send a subject with "
            "each decision"
        )
    elif clusters.without_subject:
        total = len(clusters.unit)
        said.append(
            f"by action for {clusters.without_subject:,} of {total:,} decisions, whose subject is not known: sent "
            "without, or older than `decisions` reaches. If those people came often, intervals are too narrow"
        )
    subjects = clusters.how_many - clusters.without_subject
    if clusters.by != "action" and clusters.how_many < FEW_SUBJECTS:
        said.append(f"the log is of {subjects} subjects: an interval by subject wants {FEW_SUBJECTS}")
    return said
