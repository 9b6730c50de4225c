"""What a sampled decision counts for, so that monitors can look at more than sums: how it was drawn, how it came out.

A policy says how large a share of its decisions is sampled (`[monitors] sample`); a hash of the action says which. What
they count for are tallies as others are: added up, taken back with a revision or an erasure, counted again by a replay.
No posterior is a function of them, nor is its hash: their rows' names begin with `WATCH`.

    row             columns                          a decision adds
    draws           2 × 16                           1 where the draw fell: arms by propensity, and arms by name
    propensities    3 × 16: octaves of p             of one arm, chosen by a hash: 1, p, and 1 if it was drawn
    log             3: Σ1, Σw, Σw²                   w = 1 / (K p), what a uniform policy of its K arms would weigh it
    reasons         3: policy, fallback, holdout     1
    reward          2 × 33: by octave, halved        1
    delays          44: `models/sums/delays.py`      1 for its first outcome
    bounds          one a feature, one for all       1 where the feature is at a bound

**Where the draw fell.** Arms lie side by side on [0, 1), each as wide as its propensity; a draw that is true to them
falls anywhere with the same chance, at whichever propensities (the randomised probability integral transform, Brockwell
2007). Within the drawn arm the place is a hash of the action. So one histogram tells of all decisions whether they were
drawn as they say, and no arm has to be told apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from math import frexp
from typing import NamedTuple

import numpy as np

from pipeline.models.sums.delays import COLUMNS as DELAY_COLUMNS
from pipeline.models.sums.delays import column_for
from pipeline.models.sums.tally import Tally
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.kinds import (
    GRID_ONE,
    ClockFeature,
    Feature,
    LogarithmicFeature,
    NumericFeature,
    OptionalFeature,
    QuantileFeature,
)
from pipeline.policy.reward import Credit

WATCH = "watch:"
"""Before the names of rows that only monitors read."""
DRAWS, PROPENSITIES, LOG, REASONS, REWARD, DELAYS, BOUNDS = (
    WATCH + name for name in ("draws", "propensities", "log", "reasons", "reward", "delays", "bounds")
)
BINS = 16
"""Of a draw's place in [0, 1)."""
OCTAVES = 16
"""Of propensities: [1/2, 1], [1/4, 1/2), …; the last has what is below 2^-15 too."""
PROPENSITY_ONE = 1 << 30
WEIGHT_ONE = 1 << 10
MOST_WEIGHT = 1_024.0
"""A larger weight counts as this one, as truncated importance sampling does (Ionides 2008)."""
REASON_COLUMNS = ("policy", "fallback", "holdout")
REWARD_SIDE = 33
"""Columns of rewards of one sign: 0, then two an octave up to 2^16."""
REWARD_COLUMNS = 2 * REWARD_SIDE


class Drawn(NamedTuple):
    """How a decision was drawn."""

    arm: str
    eligible: Sequence[str]
    probabilities: Sequence[float]
    """Of the eligible arms; empty where the producer did not say."""
    reason: str


class Came(NamedTuple):
    """What of a decision is known, and what came of it."""

    action_id: str
    decided_at_ms: int
    vector: bytes
    credited: Sequence[Credit]
    reward: int
    """Grid units."""


def is_sampled(action_id: str, share: float) -> bool:
    """Whether a decision is among the share that is sampled.

    >>> sum(is_sampled(f"x{number}", 0.25) for number in range(10_000))
    2499
    """
    return share > 0.0 and zlib.crc32(action_id.encode()) < share * 4_294_967_296.0


def sample_widths(definition: PolicyDefinition) -> dict[str, int]:
    """Return the rows that a sampled decision may count in, and how many columns each has."""
    return {
        DRAWS: 2 * BINS,
        PROPENSITIES: 3 * OCTAVES,
        LOG: 3,
        REASONS: len(REASON_COLUMNS),
        REWARD: REWARD_COLUMNS,
        DELAYS: DELAY_COLUMNS,
        BOUNDS: 1 + len(definition.features.features),
    }


def sample_tallies(definition: PolicyDefinition, drawn: Drawn, came: Came) -> list[Tally]:
    """Return what a sampled decision counts for, the same whenever it is asked."""
    widths = sample_widths(definition)
    return [Tally(row, widths[row], column, amount) for row, column, amount in _entries(definition, drawn, came)]


def _entries(definition: PolicyDefinition, drawn: Drawn, came: Came) -> Iterator[tuple[str, int, int]]:
    yield REASONS, REASON_COLUMNS.index(drawn.reason), 1
    if drawn.probabilities and drawn.reason != "holdout":
        digest = blake2b(came.action_id.encode(), digest_size=8).digest()
        within, chosen = (int.from_bytes(part, "big") for part in (digest[:4], digest[4:]))
        yield from _draw(drawn, within / 4_294_967_296.0, chosen)
    yield REWARD, reward_column(came.reward), 1
    if came.credited:
        first = min(came.credited, key=lambda credit: credit.occurred_at_ms)
        late_ms = first.occurred_at_ms - came.decided_at_ms
        yield DELAYS, column_for(late_ms, definition.reward.window_ms_for(first.kind)), 1
    if definition.features.stand_in_the_vector:
        yield BOUNDS, 0, 1
        entries = np.frombuffer(came.vector, "<i2").tolist()
        for number, (place, feature) in enumerate(_bounded(definition.features.features), 1):
            if feature and abs(entries[place]) == GRID_ONE:
                yield BOUNDS, number, 1


def _draw(drawn: Drawn, within: float, chosen: int) -> Iterator[tuple[str, int, int]]:
    shares = dict(zip(drawn.eligible, drawn.probabilities, strict=True))
    for half, order in enumerate((lambda arm: (-shares[arm], arm), lambda arm: ("", arm))):
        yield DRAWS, half * BINS + _place(sorted(shares, key=order), shares, drawn.arm, within), 1
    looked_at = drawn.eligible[chosen % len(drawn.eligible)]
    propensity = shares[looked_at]
    if propensity > 0.0:
        octave = min(OCTAVES - 1, max(0, -frexp(propensity)[1]))
        yield PROPENSITIES, octave, 1
        yield PROPENSITIES, OCTAVES + octave, round(propensity * PROPENSITY_ONE)
        if looked_at == drawn.arm:
            yield PROPENSITIES, 2 * OCTAVES + octave, 1
    weight = min(MOST_WEIGHT, 1.0 / (len(shares) * shares[drawn.arm]))
    yield LOG, 0, 1
    yield LOG, 1, round(weight * WEIGHT_ONE)
    yield LOG, 2, round(weight * weight * WEIGHT_ONE)


def _place(order: Sequence[str], shares: dict[str, float], arm: str, within: float) -> int:
    """Return in which bin of [0, 1) the draw fell, arms lying in this order."""
    before = sum(shares[one] for one in order[: order.index(arm)])
    at = (before + within * shares[arm]) / sum(shares.values())
    return min(BINS - 1, int(BINS * at))


def reward_column(reward: int) -> int:
    """Return where a reward is counted, in grid units: 0, then [1, 1.5), [1.5, 2), [2, 3), …; those below 0 first.

    >>> [reward_column(reward) - REWARD_SIDE for reward in (-3, -1, 0, 1, 2, 3, 32_768)]
    [-5, -2, 0, 1, 3, 4, 31]
    """
    if not reward:
        return REWARD_SIDE
    mantissa, exponent = frexp(abs(reward))
    column = 2 * exponent - 1 + (mantissa >= 0.75)
    return REWARD_SIDE + column if reward > 0 else REWARD_SIDE - 1 - column


def reward_least(column: int) -> float:
    """Return the size, in grid units, from which on a column counts; of columns below 0 the one nearest to 0.

    >>> [reward_least(reward_column(reward)) for reward in (-3, 0, 1, 2, 3, 32_768)]
    [-3.0, 0.0, 1.0, 2.0, 3.0, 32768.0]
    """
    size = column - REWARD_SIDE
    if size == 0:
        return 0.0
    if size < 0:
        size = -1 - size
        return -float(2 ** ((size - 1) // 2)) * (1.0 if (size - 1) % 2 == 0 else 1.5)
    return float(2 ** ((size - 1) // 2)) * (1.0 if (size - 1) % 2 == 0 else 1.5)


def _bounded(features: Sequence[Feature]) -> Iterator[tuple[int, bool]]:
    """Yield where each feature begins in the vector, and whether it is a number with bounds."""
    place = 1
    for feature in features:
        plain = feature.of if isinstance(feature, OptionalFeature) else feature
        plain = plain.of if isinstance(plain, ClockFeature) else plain
        yield place, isinstance(plain, (NumericFeature, LogarithmicFeature, QuantileFeature))
        place += feature.width
