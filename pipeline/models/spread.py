"""How far apart arms lie is not known either: beliefs drawn together, by every spread that their evidence allows. Pure.

A belief about each arm by itself says nothing of how arms differ, which is as if they may differ by any amount. Of arms
that are nearly alike the one that happened to earn the most then looks better than it is, the more so the fewer events
there were: with three expected of each arm, what was to cost a hundredth cost three. So means are taken to be drawn
around a common one with a deviation τ of a fortieth to four fifths of their size, and each τ counts by how likely it
makes what was seen:

    θ_a | τ ~ N(c + B_a (m_a - c), B_a s_a²)
    v_a = 1 / (τ² + s_a²)        B_a = τ² v_a        c = Σ v_a m_a / Σ v_a
    w(τ) ∝ Π v_a^½ (Σ v_a)^-½ exp(-½ Σ v_a (m_a - c)²)

(Lindley & Smith 1972; Gelman et al. 2013, "Bayesian Data Analysis", eq. 5.21; τ uniform in its logarithm). With much
evidence every B is 1, and what an arm is believed to earn is what it was by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.models.beliefs import Beliefs, NormalBeliefs

RATIOS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Deviations of arms' means, as parts of their size: tests find arms a few hundredths apart to half of their mean."""


class Drawn(NamedTuple):
    """What is believed if arms' means lie so far apart."""

    weight: float
    """How likely that is, given what was seen; all add up to 1."""
    beliefs: NormalBeliefs


def drawn_together(beliefs: Beliefs) -> list[Drawn]:
    """Return what is believed of K arms by how far apart they may lie.

    >>> alike = NormalBeliefs(np.array([0.10, 0.12]), np.array([0.01, 0.01]))
    >>> [round(float(one.beliefs.mean()[1]), 3) for one in drawn_together(alike)]
    [0.111, 0.112, 0.115, 0.118, 0.12, 0.12]
    """
    mean, squared = beliefs.mean(), np.square(beliefs.deviation())
    size = max(float(np.square(mean).mean()), float(squared.mean())) ** 0.5
    found, logs = [], []
    for spread in np.square(np.array(RATIOS) * size).tolist():
        precision = 1.0 / (spread + squared)
        centre = float(precision @ mean) / float(precision.sum())
        kept = spread * precision
        found.append(NormalBeliefs(centre + kept * (mean - centre), np.sqrt(kept * squared)))
        off = float(precision @ np.square(mean - centre))
        logs.append(0.5 * (float(np.log(precision).sum()) - float(np.log(precision.sum())) - off))
    weights = np.exp(np.array(logs) - max(logs))
    return [Drawn(*one) for one in zip((weights / weights.sum()).tolist(), found, strict=True)]
