"""What is believed of the arms' means, as distributions: what a posterior without context says, whatever the algorithm.

    alpha, beta                  Beta            location, scale, freedom    Student
    shape, rate                  Gamma           mean, standard_error        normal

`grown` is the same belief after more evidence of the same kind: what is to be expected if the means are as they seem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import betainc, gammainc, ndtr, stdtr

from pipeline.models.chances.best_arm import beta_best, gaussian_best
from pipeline.models.chances.best_gamma import gamma_best
from pipeline.models.chances.best_student import student_best
from pipeline.models.model import Floats, Posterior


class Beliefs(Protocol):
    """Independent distributions of K means."""

    def mean(self) -> Floats:
        """Return each arm's expected mean, (K,)."""

    def deviation(self) -> Floats:
        """Return the scale of each arm's distribution, (K,)."""

    def best(self) -> Floats:
        """Return P(the arm's mean is the largest), (K,)."""

    def below(self, t: Floats) -> Floats:
        """Return P(the arm's mean is at most t), (len(t), K)."""

    def grown(self, factor: float) -> Beliefs:
        """Return what is believed after `factor` times as much evidence."""


@dataclass(frozen=True, eq=False)
class BetaBeliefs:
    """Means in [0, 1]."""

    alpha: Floats
    beta: Floats

    def mean(self) -> Floats:
        """See `Beliefs`."""
        return self.alpha / (self.alpha + self.beta)

    def deviation(self) -> Floats:
        """See `Beliefs`."""
        deviation: Floats = np.sqrt(self.mean() * (1.0 - self.mean()) / (self.alpha + self.beta + 1.0))
        return deviation

    def best(self) -> Floats:
        """See `Beliefs`."""
        return beta_best(self.alpha, self.beta)

    def below(self, t: Floats) -> Floats:
        """See `Beliefs`."""
        return np.asarray(betainc(self.alpha, self.beta, np.clip(t, 0.0, 1.0)[:, None]), np.float64)

    def grown(self, factor: float) -> BetaBeliefs:
        """See `Beliefs`."""
        return BetaBeliefs(factor * self.alpha, factor * self.beta)


@dataclass(frozen=True, eq=False)
class GammaBeliefs:
    """Means of 0 or more."""

    shape: Floats
    rate: Floats

    def mean(self) -> Floats:
        """See `Beliefs`."""
        return self.shape / self.rate

    def deviation(self) -> Floats:
        """See `Beliefs`."""
        deviation: Floats = np.sqrt(self.shape) / self.rate
        return deviation

    def best(self) -> Floats:
        """See `Beliefs`."""
        return gamma_best(self.shape, self.rate)

    def below(self, t: Floats) -> Floats:
        """See `Beliefs`."""
        return np.asarray(gammainc(self.shape, self.rate * np.maximum(t, 0.0)[:, None]), np.float64)

    def grown(self, factor: float) -> GammaBeliefs:
        """See `Beliefs`."""
        return GammaBeliefs(factor * self.shape, factor * self.rate)


@dataclass(frozen=True, eq=False)
class StudentBeliefs:
    """Means of any size, their scale not known for sure."""

    location: Floats
    scale: Floats
    freedom: Floats

    def mean(self) -> Floats:
        """See `Beliefs`."""
        return self.location

    def deviation(self) -> Floats:
        """See `Beliefs`."""
        return self.scale

    def best(self) -> Floats:
        """See `Beliefs`."""
        return student_best(self.location, self.scale, self.freedom)

    def below(self, t: Floats) -> Floats:
        """See `Beliefs`."""
        return np.asarray(stdtr(self.freedom, (t[:, None] - self.location) / self.scale), np.float64)

    def grown(self, factor: float) -> StudentBeliefs:
        """See `Beliefs`."""
        return StudentBeliefs(self.location, self.scale / np.sqrt(factor), factor * self.freedom)


@dataclass(frozen=True, eq=False)
class NormalBeliefs:
    """Means of any size, with their standard errors."""

    centre: Floats
    error: Floats

    def mean(self) -> Floats:
        """See `Beliefs`."""
        return self.centre

    def deviation(self) -> Floats:
        """See `Beliefs`."""
        return self.error

    def best(self) -> Floats:
        """See `Beliefs`."""
        return gaussian_best(self.centre, self.error)

    def below(self, t: Floats) -> Floats:
        """See `Beliefs`."""
        return np.asarray(ndtr((t[:, None] - self.centre) / self.error), np.float64)

    def grown(self, factor: float) -> NormalBeliefs:
        """See `Beliefs`."""
        return NormalBeliefs(self.centre, self.error / np.sqrt(factor))


def beliefs_of(posterior: Posterior) -> Beliefs:
    """Return what a posterior without context says. Raises ValueError where it is one of another kind."""
    known = posterior.parameters
    if {"alpha", "beta"} <= known.keys():
        return BetaBeliefs(known["alpha"], known["beta"])
    if {"shape", "rate"} <= known.keys():
        return GammaBeliefs(known["shape"], known["rate"])
    if {"location", "scale", "freedom"} <= known.keys():
        return StudentBeliefs(known["location"], known["scale"], known["freedom"])
    if {"mean", "standard_error"} <= known.keys():
        return NormalBeliefs(known["mean"], known["standard_error"])
    raise ValueError(f"parameters {', '.join(sorted(known))} say nothing of an arm without its context")
