"""A log → whether to personalise, and what the answer stands on. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from scipy.special import ndtri

from pipeline.analyze.association import association, holm
from pipeline.analyze.comparable import comparable
from pipeline.analyze.convergence import DAY_MS, Gain, decisions_until, traffic_per_day, verdict_of, wait
from pipeline.analyze.fields import Field, columns_of, fields_of
from pipeline.analyze.findings import Analysis, Effect, Estimated, Level
from pipeline.analyze.groups import Audit, audit
from pipeline.analyze.scores import Scored, contrasts_of, part, score
from pipeline.analyze.value import MOST, as_logged, each_arm, gain, importance, most_gain, rules_of
from pipeline.errors import ConfigError
from pipeline.evaluate.estimators import Parts
from pipeline.evaluate.intervals import bootstrap
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.support import warnings_by
from pipeline.models.advice import Advice, advise
from pipeline.models.advice import Rule as StoppingRule
from pipeline.models.beliefs import NormalBeliefs

UNFAIR = 0.01


@dataclass(frozen=True, slots=True)
class Settings:
    """How to analyze."""

    confidence: float = 0.95
    resamples: int = 1_000
    worth: float = 0.01
    """The least gain that is worth personalising for, as a part of what one arm for all earns."""
    group_by: tuple[str, ...] = ()
    """Fields of the audit."""
    least_group: int = 30
    """Subjects of a group that is shown."""
    traffic_ms: int = DAY_MS
    """How far back the present traffic is measured."""
    stopping: StoppingRule = field(default_factory=StoppingRule)


def analyze(
    log: DecisionLog,
    settings: Settings,
    rng: np.random.Generator,
    *,
    choice: Collection[str] | None = None,
    only: Collection[str] | None = None,
    said: Sequence[str] = (),
    is_draw_assumed: bool = False,
) -> Analysis:
    """Analyze a log.

    Args:
        log: decisions.
        settings: how.
        rng: of resamples, signs and shuffles.
        choice: arms that could be chosen; None: all.
        only: fields of the context to look at, the segment among them; None: all.
        said: doubts about the log, in words.
        is_draw_assumed: whether propensities are not known, but taken to be the same for everybody.

    Raises:
        ConfigError: fewer than two arms can be compared, all is of one subject, or a field to group by is none.
    """
    whole = log
    log, arms, left_out, doubts = comparable(log, choice)
    known = fields_of(log, only)
    columns = columns_of(known.usable, len(log))
    scored, judged = score(log, arms, columns, "others"), score(log, arms, columns, "earlier")
    rules = rules_of(log, arms, known.usable)
    single, best = rules[0], rules[-1]
    each, mosts = _estimated([each_arm(scored), [most_gain(scored, known.usable)]], settings, rng)
    values, regrets, gains, lost = _estimated(
        [
            [as_logged(judged), *(part(judged, rule.name, rule.chances) for rule in rules)],
            [part(judged, rule.name, rule.chances, 1.0) for rule in rules],
            [gain(judged, best, single)],
            importance(log, judged, known.usable, best, rng),
        ],
        settings,
        rng,
    )
    gained, per_day = gains[best.name], traffic_per_day(whole, settings.traffic_ms)
    least_gain = settings.worth * (abs(values[single.name].value) or log.bounds[1] - log.bounds[0])
    most = max(gained.high, mosts[MOST].high)
    gain_known = Gain(*gained, most, least_gain)
    advice, arm_more = _one_arm(scored, each, settings)
    return Analysis(
        decisions=len(log),
        subjects=log.clusters.how_many,
        by=log.clusters.by,
        arms=scored.names,
        confidence=settings.confidence,
        personalise=verdict_of(gain_known),
        gain=gained,
        most_gain=most,
        least_gain=least_gain,
        values=values,
        regret=regrets,
        effects=_effects(scored, known.usable, lost, rng),
        leader=scored.names[advice.leader],
        advice=advice,
        arm_values=each,
        context_wait=wait(decisions_until(gain_known, len(log)), per_day),
        arm_wait=wait(arm_more, per_day),
        traffic_per_day=per_day,
        groups=_groups(whole, settings, rng),
        left_out=[*left_out, *(f"field {name}: {why}" for name, why in known.left_out.items())],
        doubts=[
            *said,
            *(_unfair(scored, known.usable, rng) if is_draw_assumed else ()),
            *doubts,
            *warnings_by(log.clusters),
        ],
    )


def _estimated(
    asked: Sequence[Sequence[Parts]], settings: Settings, rng: np.random.Generator
) -> list[dict[str, Estimated]]:
    """Return values and intervals by name, all from the same weights."""
    intervals = iter(bootstrap([one for parts in asked for one in parts], rng, settings.resamples, settings.confidence))
    return [{one.name: Estimated(one.estimate, *next(intervals)) for one in parts} for parts in asked]


def _one_arm(scored: Scored, each: dict[str, Estimated], settings: Settings) -> tuple[Advice, int | None]:
    """Advise on one arm for all, and say how many decisions more it takes until it may be chosen."""
    log = scored.log
    means = np.array([one.value for one in each.values()])
    tail = (1.0 - settings.confidence) / 2.0
    deviations = np.array([one.high - one.low for one in each.values()]) / (2.0 * float(ndtri(1.0 - tail)))
    weights = scored.shown / log.propensity[:, None]
    counts = np.square(weights.sum(axis=0)) / np.square(weights).sum(axis=0)  # what each arm's are worth
    smallest = max(float(deviations.max()), 1.0) * 1e-12  # of an arm whose rewards never differ
    beliefs = NormalBeliefs(means, np.maximum(deviations, smallest))
    advice = advise(beliefs, counts.astype(int).tolist(), settings.stopping)
    return advice, None if advice.growth is None else round((advice.growth - 1.0) * len(log))


def _effects(
    scored: Scored, fields: Sequence[Field], lost: dict[str, Estimated], rng: np.random.Generator
) -> list[Effect]:
    """Test for each field whether what arms earn more than the usual one does differs by it."""
    contrasts, expected = contrasts_of(scored)
    p_values = [association(field.columns, contrasts, scored.log.clusters, rng, expected=expected) for field in fields]
    found = [
        Effect(field.name, p, adjusted, lost[field.name], _levels(scored, field))
        for field, p, adjusted in zip(fields, p_values, holm(p_values), strict=True)
    ]
    return sorted(found, key=lambda effect: (effect.adjusted, effect.p_value, effect.field))


def _levels(scored: Scored, field: Field) -> list[Level]:
    found = []
    by_context = scored.predicted.argmax(axis=1)
    for code, level in enumerate(field.levels):
        mine = np.flatnonzero(field.codes == code)
        if not len(mine):
            continue
        _, unit = np.unique(scored.log.clusters.unit[mine], return_inverse=True)
        counts = np.bincount(by_context[mine], minlength=len(scored.names)) / len(mine)
        shares = dict(zip(scored.names, counts.tolist(), strict=True))
        means = scored.values[mine].mean(axis=0)
        errors = [
            sqrt(float(np.square(np.bincount(unit, scored.values[mine, place] - mean)).sum())) / len(mine)
            for place, mean in enumerate(means)
        ]
        shown = {arm: share for arm, share in sorted(shares.items(), key=lambda one: -one[1]) if share > 0.0}
        found.append(
            Level(
                level,
                len(mine),
                shown,
                dict(zip(scored.names, means.tolist(), strict=True)),
                dict(zip(scored.names, errors, strict=True)),
            )
        )
    return found


def _unfair(scored: Scored, fields: Sequence[Field], rng: np.random.Generator) -> list[str]:
    """Say in words by what arms were shown, where they are taken to have been drawn alike for everybody."""
    log = scored.log
    ranks = np.column_stack([np.arange(len(log), dtype=np.float64)])
    columns = {field.name: field.columns for field in fields} | ({"time": ranks} if log.decided_at_ms.any() else {})
    p_values = holm([association(one, scored.shown, log.clusters, rng) for one in columns.values()])
    return [
        f"which arm was shown goes along with {name} (p = {p:.2g}), so that the arms were not drawn alike for "
        "everybody: without the true propensities no number here can be trusted"
        for name, p in zip(columns, p_values, strict=True)
        if p <= UNFAIR
    ]


def _groups(log: DecisionLog, settings: Settings, rng: np.random.Generator) -> Audit | None:
    if not settings.group_by:
        return None
    known = fields_of(log, settings.group_by)
    if known.left_out or len(known.usable) < len(set(settings.group_by)):
        one_segment = {} if known.named("segment") or "segment" not in settings.group_by else {"segment": "is one"}
        faults = [f"{name}: {why}, and makes no groups" for name, why in (known.left_out | one_segment).items()]
        raise ConfigError("--group-by", faults)
    return audit(log, known.usable, settings.least_group, rng)
