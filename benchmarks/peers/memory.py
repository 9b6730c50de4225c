"""What a peer must keep itself: the context and arm of each decision, until its reward is known."""

from __future__ import annotations

import numpy as np

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.features import decode
from pipeline.simulate.environment import Setting
from pipeline.simulate.player import Moments
from pipeline.simulate.setting import definition_for


class Memory:
    """Contexts as numbers: the platform's encoding, and the segment as one-hot entries."""

    def __init__(self, setting: Setting) -> None:
        # Any algorithm: only how contexts are encoded is of interest.
        algorithm = "lin_ucb" if setting.features else "epsilon_greedy"
        self._definition: PolicyDefinition = definition_for(setting, algorithm, {})
        self.segments = self._definition.segments.names
        self.low, self.high = setting.low, setting.high
        self.x: dict[int, np.ndarray] = {}
        self.segment: dict[int, str] = {}
        self.arm: dict[int, int] = {}
        self.propensity: dict[int, float] = {}

    def encode(self, moments: Moments) -> np.ndarray:
        """Return (m, d), and remember."""
        vectors = decode(self._definition.features.encode_many(moments.contexts)[0])
        for place, context, x in zip(moments.places.tolist(), moments.contexts, vectors, strict=True):
            self.x[place] = x
            self.segment[place] = self._definition.segments.segment_for(context)
        return vectors

    def forget(self, places: list[int]) -> None:
        """Let go of decisions that have been learned."""
        for place in places:
            for kept in (self.x, self.segment, self.arm, self.propensity):
                kept.pop(place, None)
