"""Features that wrap another one: a request may lack them."""

from __future__ import annotations

from pipeline.policy.kinds.clock import ClockFeature
from pipeline.policy.kinds.feature import Feature
from pipeline.policy.kinds.optional import OptionalFeature

Wrapping = OptionalFeature | ClockFeature


def kind_of(feature: Feature) -> Feature:
    """Return what a feature is where the context has it.

    >>> from pipeline.policy.kinds.boolean import BooleanFeature
    >>> kind_of(OptionalFeature(BooleanFeature("member")))
    BooleanFeature(name='member')
    """
    return feature.of if isinstance(feature, Wrapping) else feature
