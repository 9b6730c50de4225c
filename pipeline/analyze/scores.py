"""What each arm would have earned in each decision: a prediction, put right by what was seen. Pure.

    ψ_a = q_a(x) + 1[a was shown] (r - q_a(x)) / p

the augmented inverse-propensity score (Robins, Rotnitzky & Zhao 1994; as DR in `evaluate`): its mean over any visitors
is what arm a earns with them, whatever q predicts, where p is the propensity that was logged and q was fitted without
them. So neither a level that moves while shares move, nor arms that are shown to the better visitors, pass for a
difference of arms. q is `arm_regression.py`'s.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.analyze.arm_regression import FIRST, Seen, blocks_of, fit
from pipeline.evaluate.estimators import Parts
from pipeline.evaluate.log import DecisionLog, Indices
from pipeline.models.model import Floats


class Scored(NamedTuple):
    """N decisions among K arms that could all have been shown in each."""

    log: DecisionLog
    arms: Indices
    """(K,) index into the log's arms."""
    shown: Floats
    """(N, K) 1 where the arm was shown."""
    predicted: Floats
    """(N, K) q."""
    values: Floats
    """(N, K) ψ."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the arms' names."""
        return tuple(self.log.arms[arm] for arm in self.arms.tolist())


def score(log: DecisionLog, arms: Indices, columns: Floats, seen: Seen) -> Scored:
    """Score the arms; `columns` is (N, m) to predict from. Of `earlier` blocks, those that have some before them."""
    predicted = fit(log, arms, columns, seen).at(columns)
    if seen == "earlier":
        later = later_places(log)
        log, predicted = log.take(later), predicted[later]
    shown = (log.arm[:, None] == arms).astype(np.float64)
    values = predicted + shown * (log.reward[:, None] - predicted) / log.propensity[:, None]
    return Scored(log, arms, shown, predicted, values)


class Contrasts(NamedTuple):
    """What each arm would have earned more than the arms did that were shown, as often as they were."""

    values: Floats
    """(N, K)."""
    expected: Floats
    """(N, K) their squares, less the means, where what is unforeseen of an arm's reward varies alike with everybody."""


def contrasts_of(scored: Scored) -> Contrasts:
    """Compare each arm with all, by ψ."""
    shares = scored.shown.mean(axis=0)
    shares = shares / shares.sum()
    rest = scored.shown * (scored.log.reward[:, None] - scored.predicted)
    unforeseen = np.square(rest).sum(axis=0) / np.maximum(scored.shown.sum(axis=0), 1.0)
    noise = (scored.shown @ unforeseen) / np.square(scored.log.propensity)
    foreseen = scored.predicted - (scored.predicted @ shares)[:, None]
    apart = np.square(scored.shown - (scored.shown @ shares)[:, None])
    return Contrasts(
        scored.values - (scored.values @ shares)[:, None],
        apart * noise[:, None] + np.square(foreseen - foreseen.mean(axis=0)),
    )


def later_places(log: DecisionLog) -> Indices:
    """Return the decisions of the blocks that have enough others before them."""
    return np.flatnonzero(blocks_of(log) >= FIRST)


def part(scored: Scored, name: str, chances: Floats, less: float = 0.0) -> Parts:
    """Return, by subject, what `chances` of the arms earn less `less` times what was earned.

    Args:
        scored: decisions.
        name: of what.
        chances: (N, K), of a rule, or of one rule less those of another.
        less: 1 to compare with the log's own policy.
    """
    log, (low, high) = scored.log, _seen(scored.log)
    model = (chances * scored.predicted).sum(axis=1)
    weight = (chances * scored.shown).sum(axis=1) / log.propensity
    own = (chances * scored.shown * scored.predicted).sum(axis=1) / log.propensity
    least, most = (model + weight * end - own - less * end for end in (low, high))
    numerator, one = model + weight * log.reward - own - less * log.reward, np.ones(len(log))
    ends = float(np.minimum(least, most).min()), float(np.maximum(least, most).max())
    found = Parts(name, numerator, one, None, (ends[0], 1.0), (ends[1], 1.0))
    return found.added_up(log.clusters.unit, log.clusters.how_many)


def _seen(log: DecisionLog) -> tuple[float, float]:
    """Return what one decision more could earn: as those seen, or where nothing was earned yet, as the bounds say."""
    return (float(log.reward.min()), float(log.reward.max())) if log.reward.any() else log.bounds
