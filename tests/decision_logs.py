"""Logs of decisions made for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pipeline.evaluate.log import DecisionLog


def log_of(
    arm: ArrayLike,
    reward: ArrayLike,
    propensity: ArrayLike,
    contexts: Sequence[Mapping[str, object]] | None = None,
    *,
    subjects: Sequence[str] = (),
    possible: ArrayLike | None = None,
    step_ms: int = 60_000,
) -> DecisionLog:
    """Return a log of arms a, b, … of which all could always be shown, a minute apart.

    `possible` is (N, K) where they could not.
    """
    arms, rewards = np.asarray(arm, np.int64), np.asarray(reward, np.float64)
    chances, count = np.asarray(propensity, np.float64), len(np.asarray(arm))
    K = int(arms.max()) + 1 if possible is None else np.asarray(possible).shape[1]
    offered = np.ones((1, K), np.bool_) if possible is None else np.asarray(possible, np.bool_)
    return DecisionLog(
        arms=tuple("abcdefgh"[:K]),
        segments=("other",),
        arm=arms,
        segment=np.zeros(count, np.int64),
        reward=rewards,
        propensity=chances,
        contexts=[{}] * count if contexts is None else contexts,
        decided_at_ms=np.arange(count, dtype=np.int64) * step_ms,
        offer=np.zeros(count, np.int64) if possible is None else np.arange(count),
        offered=offered,
        possible=offered,
        bounds=(min(0.0, float(rewards.min())), max(1.0, float(rewards.max()))),
        weight_bound_known=True,
        least_propensity=chances,
        subjects=subjects,
    )
