"""One target against one log: every estimator with its intervals, and whether the log supports them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np

from pipeline.evaluate.estimators import Parts, Terms, all_parts
from pipeline.evaluate.intervals import Interval, bootstrap, empirical_bernstein
from pipeline.evaluate.log import By, DecisionLog
from pipeline.evaluate.reward_model import RewardModel, fit_reward_model, with_intercept
from pipeline.evaluate.support import Support, measure_support, warnings_by, warnings_of
from pipeline.evaluate.target import Logged, Target
from pipeline.models.grid import features_from_grid
from pipeline.models.model import Floats
from pipeline.policy.features import FeatureSchema

BLOCK = 4_096


@dataclass(frozen=True, slots=True)
class Settings:
    """How to evaluate."""

    confidence: float = 0.95
    resamples: int = 1_000
    clip: float | None = None
    """Weights are clipped, and the model takes over, above this; None: sqrt(N), which grows as Ionides 2008 asks."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one estimator says."""

    estimator: str
    value: float
    standard_error: float | None
    """None for DM: what its model gets wrong, no resampling of decisions shows."""
    bootstrap: Interval | None
    """None as well for DM."""
    bernstein: Interval | None
    """None for estimators that the bound doesn't hold for."""
    by: By
    """What the intervals take for independent of each other."""

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value; what isn't finite is null."""
        return {
            "estimator": self.estimator,
            "value": _number(self.value),
            "standard_error": None if self.standard_error is None else _number(self.standard_error),
            "bootstrap": None if self.bootstrap is None else [_number(end) for end in self.bootstrap],
            "bernstein": None if self.bernstein is None else [_number(end) for end in self.bernstein],
            "by": self.by,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a log says of one target."""

    target: str
    estimates: tuple[Estimate, ...]
    support: Support
    warnings: tuple[str, ...]
    clip: float
    """What weights were clipped at."""
    left_out: tuple[str, ...] = ()
    """What of the policy the log could not be asked about."""

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        return {
            "target": self.target,
            "estimates": [estimate.to_plain() for estimate in self.estimates],
            "support": self.support._asdict(),
            "warnings": list(self.warnings),
            "clip": self.clip,
            "left_out": list(self.left_out),
        }

    def of(self, estimator: str) -> Estimate:
        """Return one estimator's answer."""
        return next(estimate for estimate in self.estimates if estimate.estimator == estimator)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A log with its reward model, for any number of targets."""

    log: DecisionLog
    model: RewardModel
    x: Floats
    """(N, d) what the model predicts from."""


def prepare(log: DecisionLog, features: FeatureSchema) -> Prepared:
    """Fit the reward model on the context's features; contexts that can't be encoded count as all zero."""
    vectors = with_intercept(features.encode_at(log.contexts, log.decided_at_ms.tolist())[0])
    counts = (len(log.segments), len(log.arms))
    model = fit_reward_model(log.segment, log.arm, log.reward, vectors, log.folds, counts=counts, bounds=log.bounds)
    return Prepared(log, model, features_from_grid(vectors))


def evaluate(
    prepared: Prepared,
    target: Target,
    settings: Settings,
    rng: np.random.Generator,
    warnings: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Say what the target would have earned; `rng` resamples, `warnings` stand before those of the log's support."""
    log = prepared.log
    terms, unsupported, unanswered, weight_bound = terms_of(prepared, target, on_progress)
    clip = sqrt(len(log)) if settings.clip is None else settings.clip
    parts = all_parts(terms, clip=clip, bounds=log.bounds, weight_bound=weight_bound)
    clusters = log.clusters
    if clusters.how_many < len(log):
        parts = [part.added_up(clusters.unit, clusters.how_many) for part in parts]
    intervals = bootstrap(parts, rng, settings.resamples, settings.confidence)
    estimates = tuple(
        _estimate(part, interval, settings.confidence, log.bounds, clusters.by)
        for part, interval in zip(parts, intervals, strict=True)
    )
    support = measure_support(terms.weight, terms.reward, unsupported, unanswered)
    said = (*warnings, *warnings_of(support, terms.weight), *warnings_by(clusters))
    return Evaluation(target.name, estimates, support, said, clip, target.left_out)


def terms_of(
    prepared: Prepared, target: Target, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> tuple[Terms, float, float, float]:
    """Return the estimators' terms, the mass on arms that the log never showed and on nothing, the largest weight."""
    log = prepared.log
    n = len(log)
    weight, predicted, value, unsupported, unanswered, largest = (np.empty(n) for _ in range(6))
    which = log.folds
    for start in range(0, n, BLOCK):
        rows = slice(start, min(start + BLOCK, n))
        chances = target.propensities(log, rows)
        q = prepared.model.predict(which[rows], log.segment[rows], prepared.x[rows])
        own = np.arange(len(chances)), log.arm[rows]
        weight[rows] = 1.0 if isinstance(target, Logged) else chances[own] / log.propensity[rows]
        predicted[rows] = q[own]
        value[rows] = (chances * q).sum(axis=1)
        unsupported[rows] = (chances * ~log.possible[log.offer[rows]]).sum(axis=1)
        unanswered[rows] = ~chances.any(axis=1)
        largest[rows] = chances.max(axis=1) / log.least_propensity[rows]
        on_progress(rows.stop, n)
    is_bound = log.weight_bound_known and not isinstance(target, Logged)
    weight_bound = float(largest.max()) if is_bound else float(weight.max())
    terms = Terms(log.reward, weight, predicted, value)
    return terms, float(unsupported.mean()), float(unanswered.mean()), weight_bound


def _estimate(part: Parts, resampled: Interval, confidence: float, bounds: tuple[float, float], by: By) -> Estimate:
    if part.name == "DM":
        return Estimate(part.name, part.estimate, None, None, None, by)
    bernstein = None
    if part.width is not None:
        each = float(part.denominator.mean())  # decisions of a subject
        low, high = empirical_bernstein(part.numerator / each, part.width / each, confidence)
        # No policy earns less or more than a reward can be. An estimate may, and then keeps its own end.
        bernstein = Interval(max(low, min(bounds[0], part.estimate)), min(high, max(bounds[1], part.estimate)))
    return Estimate(part.name, part.estimate, part.standard_error, resampled, bernstein, by)


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def to_plain(evaluations: Sequence[Evaluation], log: DecisionLog, settings: Settings) -> dict[str, Any]:
    """Give the whole answer as a JSON value."""
    return {
        "decisions": len(log),
        "mean_reward": log.mean_reward,
        "by": log.clusters.by,
        "subjects": log.clusters.how_many - log.clusters.without_subject,
        "without_subject": log.clusters.without_subject,
        "settings": asdict(settings),
        "targets": [evaluation.to_plain() for evaluation in evaluations],
    }
