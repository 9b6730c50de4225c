"""How much of their bounds the features of a log use. Pure.

On the grid a feature has 2^13 steps between its bounds. One whose values lie in a hundredth of them has eighty, and its
weight has to be a hundred times as large as others' before it says anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.feature_kinds import LogarithmicFeature, NumericFeature
from pipeline.policy.render_value import shown

NEARLY_ALL = (0.01, 0.99)
"""Quantiles between which a feature's values are looked at: a few far ones make no use of its bounds."""
LITTLE = 0.01


def feature_doubts(definition: PolicyDefinition, contexts: Sequence[Mapping[str, object]]) -> list[str]:
    """Say in words what of a log's contexts is refused, and which features use hardly any of their bounds."""
    _, errors = definition.features.encode_many(contexts)
    why = Counter(error.reason for error in errors if error is not None)
    first = {error.reason: error.detail for error in reversed(errors) if error is not None}
    found = [
        f"{count:,} of {len(contexts):,} contexts are refused ({reason}), as where {first[reason]}"
        for reason, count in why.most_common()
    ]
    for feature in definition.features.features:
        if isinstance(feature, NumericFeature | LogarithmicFeature):
            found += _use_of(feature, contexts)
    return found


def _use_of(feature: NumericFeature | LogarithmicFeature, contexts: Sequence[Mapping[str, object]]) -> list[str]:
    values = [context.get(feature.name) for context in contexts]
    entries = np.zeros((len(values), 1), np.int16)
    sound = feature.encode_column(values, entries)
    if not sound.any():
        return []
    low, high = np.quantile(entries[sound, 0], NEARLY_ALL, method="inverted_cdf")
    used = float(high - low) / (2 << 12)
    if used >= LITTLE:
        return []
    numbers = np.array([float(value) for value, ok in zip(values, sound, strict=True) if ok])  # type: ignore[arg-type]
    at = np.quantile(numbers, NEARLY_ALL, method="inverted_cdf").tolist()
    advice = "Bring low and high nearer"
    if isinstance(feature, NumericFeature):
        advice += ', or write kind = "logarithmic"'
    words = (
        f"{feature.name} uses {used:.2%} of its bounds {feature.low!r} to {feature.high!r}: 98 % of its values lie in "
        f"{shown(at[0])} to {shown(at[1])}. {advice}"
    )
    return [words]
