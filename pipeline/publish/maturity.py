"""How much of a bucket's decisions counts by now, where the policy corrects for delays. Pure.

A decision that is open counts by the chance that what comes of it has come by now, a settled one whole: of a bucket's
open part, n and A by the mean of F over its ages, b and Σr as they are. (Vernade, Cappé & Perchet 2017, "Stochastic
Bandit Models for Delayed Conversions": the estimator S / Σ F(age).) F is estimated from the policy's own delays
(`models/sums/delays.py`): per kind over all arms, on top of delays that are even in every octave, worth 10 outcomes;
and per kind and arm on top of that, worth 5. So an arm's own delays prevail where it has had more outcomes than that;
and where none can have come yet, an arm goes on as it went lately.

Where outcomes of several kinds count, F is that of the reward: the kinds' own, by what each brings in the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from pipeline.learn.memory import RowKey
from pipeline.models.model import Floats
from pipeline.models.sums.delays import DelayEstimate, estimate, even_prior, exposures, weights
from pipeline.models.sums.statistics import Integers, Statistics
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import OutcomeRule
from pipeline.policy.tallies import DELAY_ROW, SETTLED_ROW

Place = tuple[str, str, int]
"""Segment, arm and bucket."""
PRIOR_OUTCOMES = 10.0
ARM_PRIOR_OUTCOMES = 5.0
_WEIGHT_STEPS = 2.0**30


class Maturity(NamedTuple):
    """What counts, by segment, arm and bucket."""

    shares: Mapping[Place, float]
    """How much of the decisions counts, in (0, 1]."""
    came: Mapping[Place, int]
    """Of how many decisions something came, at most; no fewer count."""


def is_corrected(definition: PolicyDefinition) -> bool:
    """Whether decisions count by their age."""
    return definition.attribution.settle == "delay_corrected"


def as_of(rows: Iterable[tuple[RowKey, Statistics]], event_time_ms: int) -> int:
    """Return the time that ages are counted to; 0 where no decision is open, so that it makes no difference."""
    is_open = sum(
        -int(row.sums[0]) if key.tally == SETTLED_ROW else row.n for key, row in rows if key.tally in {"", SETTLED_ROW}
    )
    return max(event_time_ms, 0) if is_open else 0


def mature(definition: PolicyDefinition, rows: Iterable[tuple[RowKey, Statistics]], event_time_ms: int) -> Maturity:
    """Estimate the policy's delays, and what they leave of each bucket at an event time."""
    counts, settled, came, delays = _sorted_out(rows)
    buckets = sorted({bucket for _, _, bucket in counts})
    number = {bucket: index for index, bucket in enumerate(buckets)}
    decided = {arm: np.zeros(len(buckets), np.int64) for arm in sorted({arm for _, arm, _ in counts})}
    for (_, arm, bucket), n in counts.items():
        decided[arm][number[bucket]] += n
    oldest = max(event_time_ms, 0) - np.array(buckets, np.int64) * definition.bucket_ms
    mixed = {arm: np.zeros(len(buckets)) for arm in decided}
    masses = dict.fromkeys(decided, 0.0)
    for rule in definition.reward.outcomes:
        exposed = exposures(oldest - definition.bucket_ms, oldest, rule.window_ms)
        of_arms = {arm: np.zeros_like(exposed) for arm in decided}
        for (arm, bucket), columns in delays.get(rule.kind, ()):
            of_arms[arm][number[bucket]] += columns[: exposed.shape[1]]
        for arm, known in _estimates(rule, decided, of_arms, exposed).items():
            mass = rule.typical_worth * known.chance
            mixed[arm] += mass * weights(known.increments, exposed)
            masses[arm] += mass
    chances = {arm: _on_grid(mixed[arm], masses[arm]) for arm in decided}
    shares = {}
    for place, n in counts.items():
        _, arm, bucket = place
        closed = settled.get(place, 0)
        shares[place] = (closed + (n - closed) * chances[arm][number[bucket]]) / n
    return Maturity(shares, {place: min(came.get(place, 0), n) for place, n in counts.items()})


_Delays = dict[str, list[tuple[tuple[str, int], Integers]]]
"""By kind: arm, bucket, and counts by column."""


def _sorted_out(
    rows: Iterable[tuple[RowKey, Statistics]],
) -> tuple[dict[Place, int], dict[Place, int], dict[Place, int], _Delays]:
    """Return how many decisions there are, how many have settled, of how many something came at most, and delays."""
    rows = list(rows)
    counts = {(key.segment, key.arm, key.bucket): row.n for key, row in rows if not key.tally and row.n}
    settled: dict[Place, int] = {}
    came: defaultdict[Place, int] = defaultdict(int)
    delays: _Delays = {}
    for key, row in rows:
        place = key.segment, key.arm, key.bucket
        if place not in counts:  # all of its decisions were erased
            continue
        if key.tally == SETTLED_ROW:
            settled[place] = int(row.sums[0])
        elif key.tally.startswith(DELAY_ROW):
            came[place] += int(row.sums.sum())
            delays.setdefault(key.tally.removeprefix(DELAY_ROW), []).append(((key.arm, key.bucket), row.sums))
    return counts, settled, came, delays


def _estimates(
    rule: OutcomeRule, decided: Mapping[str, Integers], delays: Mapping[str, Integers], exposed: Integers
) -> dict[str, DelayEstimate]:
    """Estimate one kind's delays for every arm."""
    everyone = np.zeros(len(exposed), np.int64)
    all_delays = np.zeros_like(exposed)
    for arm, own in decided.items():
        everyone += own
        all_delays += delays[arm]
    pooled = estimate(everyone, all_delays, exposed, even_prior(rule.window_ms), PRIOR_OUTCOMES)
    return {
        arm: estimate(own, delays[arm], exposed, pooled.increments, ARM_PRIOR_OUTCOMES, goes_on=True)
        for arm, own in decided.items()
    }


def _on_grid(mixed: Floats, mass: float) -> list[float]:
    shares = mixed / mass if mass else np.ones(len(mixed))
    on_grid: list[float] = (np.rint(np.minimum(shares, 1.0) * _WEIGHT_STEPS) / _WEIGHT_STEPS).tolist()
    return on_grid
