"""How much of their bounds the features of a log use. Pure.

On the grid a feature has 2^13 steps between its bounds. One whose values lie in a hundredth of them has eighty, and its
weight has to be a hundred times as large as others' before it says anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.kinds import (
    CategoricalFeature,
    LogarithmicFeature,
    NumericFeature,
    OptionalFeature,
    Wrapping,
    kind_of,
)
from pipeline.policy.kinds.values import floats_of
from pipeline.policy.render_value import shown

NEARLY_ALL = (0.01, 0.99)
"""Quantiles between which a feature's values are looked at: a few far ones make no use of its bounds."""
LITTLE = 0.01
ANY_TIME_MS = 0
"""When contexts that lack what a clock shows are decided: at no time is it refused."""
TOLD = 5
"""Names in a sentence."""


def feature_doubts(definition: PolicyDefinition, contexts: Sequence[Mapping[str, object]]) -> list[str]:
    """Say in words what of a log's contexts is refused, and which features use hardly any of their bounds."""
    _, errors = definition.features.encode_at(contexts, repeat(ANY_TIME_MS, len(contexts)))
    why = Counter(error.reason for error in errors if error is not None)
    first = {error.reason: error.detail for error in reversed(errors) if error is not None}
    found = [
        f"{count:,} of {len(contexts):,} contexts are refused ({reason}), as where {first[reason]}"
        for reason, count in why.most_common()
    ]
    for feature in definition.features.features:
        there = [one for one in contexts if one.get(feature.name) is not None]
        kind = kind_of(feature)
        if isinstance(feature, OptionalFeature) and len(there) < len(contexts):
            found.append(f"{feature.name} is missing in {len(contexts) - len(there):,} of {len(contexts):,} contexts")
        if isinstance(kind, CategoricalFeature) and kind.has_other:
            found += _others_of(kind, there)
        if isinstance(kind, NumericFeature | LogarithmicFeature):
            found += _clipped_of(kind, there)
            found += _use_of(kind, there)
    return found


def lacking_doubts(definition: PolicyDefinition) -> list[str]:
    """Say which features a request must have, to be decided by more than chance and learned from."""
    needed = [one.name for one in definition.features.features if not isinstance(one, Wrapping)]
    if not needed:
        return []
    named = ", ".join(needed[:TOLD]) + (", …" if len(needed) > TOLD else "")
    words = f"a request that lacks one of {named} is decided by chance and learned from by nobody"
    return [f'{words}; missing = "indicator" in a feature\'s table lets it be missing']


def _others_of(feature: CategoricalFeature, contexts: Sequence[Mapping[str, object]]) -> list[str]:
    words = Counter(one[feature.name] for one in contexts if isinstance(one[feature.name], str))
    others = [(word, count) for word, count in words.most_common() if word not in feature.texts]
    if not others:
        return []
    named = ", ".join(f"{shown(word)} ({count:,})" for word, count in others[:TOLD])
    share = sum(count for _, count in others) / len(contexts)
    more = f" and {len(others) - TOLD} more" if len(others) > TOLD else ""
    return [
        f"{feature.name} counts {share:.1%} of its words as other: {named}{more}; those that matter belong in values"
    ]


def _clipped_of(feature: NumericFeature | LogarithmicFeature, contexts: Sequence[Mapping[str, object]]) -> list[str]:
    if not feature.clips:
        return []
    numbers = floats_of([one[feature.name] for one in contexts])
    beyond = int(((numbers < feature.low) | (numbers > feature.high)).sum())
    words = (
        f"{feature.name} is clipped to {feature.low!r} to {feature.high!r} in {beyond:,} of {len(numbers):,} contexts"
    )
    return [words] if beyond else []


def _use_of(feature: NumericFeature | LogarithmicFeature, contexts: Sequence[Mapping[str, object]]) -> list[str]:
    values = [context[feature.name] for context in contexts]
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
