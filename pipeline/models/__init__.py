"""Pure mathematics: exact statistics → posterior → arm probabilities.

    beliefs, advice  what a posterior says of the arms' means, and whether that is enough to stop
    many_contexts    arm probabilities in many contexts at once

    algorithms/      each in its file, without a number to choose:
        auto_linear, auto_rates          what `auto` is with a context and without one
                     without context:
        beta_thompson, hierarchical_thompson, gaussian_thompson, poisson_thompson     by P(an arm is the best)
        kl_ucb, ucb_tuned, ucb1                                          by an upper confidence bound
        epsilon_greedy, fixed_split                                      by the mean, and by chance
        tsallis_inf, exp3                                                by 1 / propensity, for an adversary
                     and with it:
        linear_thompson, lin_ucb, square_cb                              a ridge regression per arm
        linear_ensemble                                                  thirty, of halves of its decisions
        logistic_thompson, logistic_ucb                                  a logistic one, for rewards in [0, 1]
        hybrid_thompson, hybrid_ucb                                      arms share by their features
        logistic_hybrid_thompson, logistic_hybrid_ucb                    both

    regressions/     posteriors of what a reward is worth
        empirical        an arm's count, mean and variance; importance: the same by 1 / propensity
        linear, hybrid   ridge posteriors; standardised: noise, ridge, units and bends measured over all arms
        logistic         Laplace's posterior from counts by context; logistic_hybrid
    sums/            exact sums
        statistics       of one row, a commutative group; `fold` sums a batch of changes; tally, refined: beside them
        forgetting       how much a decision still counts, by its age
        weighted         buckets merged by those weights, on top of what is known of an arm beforehand
        objectives, delays   amounts by kind; how long outcomes take
        contexts, groups, importance   decisions by distinct context, parted at random, by 1 / propensity
    chances/         from posteriors to probabilities
        best_arm, best_student, best_gamma   P(an arm is the best); `quadrature` is the integral behind it
        trapezoid, normal_kernel             the same for normal arms, compiled
        sampling         where arms share what is not known
        largest, lookahead   from an index an arm to weights: now, and over the decisions to come
        floor            the exploration floor, and the draw

    model            what every algorithm is: `Model`, `Posterior`, `Estimates`
    grid             the fixed-point grid, and the proof that its sums are exact

Nothing here knows a clock, a generator of random numbers, a socket or a log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from pipeline.errors import ConfigError
from pipeline.models.algorithms import (
    auto_linear,
    auto_rates,
    beta_thompson,
    epsilon_greedy,
    exp3,
    fixed_split,
    gaussian_thompson,
    hierarchical_thompson,
    hybrid_thompson,
    hybrid_ucb,
    kl_ucb,
    lin_ucb,
    linear_ensemble,
    linear_thompson,
    logistic_hybrid_thompson,
    logistic_hybrid_ucb,
    logistic_thompson,
    logistic_ucb,
    poisson_thompson,
    square_cb,
    tsallis_inf,
    ucb1,
    ucb_tuned,
)
from pipeline.models.model import AlgorithmInfo, Model

ALGORITHMS: Mapping[str, AlgorithmInfo] = MappingProxyType(
    {
        "auto_linear": auto_linear.INFO,
        "auto_rates": auto_rates.INFO,
        "beta_thompson": beta_thompson.INFO,
        "hierarchical_thompson": hierarchical_thompson.INFO,
        "gaussian_thompson": gaussian_thompson.INFO,
        "poisson_thompson": poisson_thompson.INFO,
        "kl_ucb": kl_ucb.INFO,
        "ucb_tuned": ucb_tuned.INFO,
        "ucb1": ucb1.INFO,
        "epsilon_greedy": epsilon_greedy.INFO,
        "fixed_split": fixed_split.INFO,
        "tsallis_inf": tsallis_inf.INFO,
        "exp3": exp3.INFO,
        "linear_thompson": linear_thompson.INFO,
        "lin_ucb": lin_ucb.INFO,
        "square_cb": square_cb.INFO,
        "linear_ensemble": linear_ensemble.INFO,
        "logistic_thompson": logistic_thompson.INFO,
        "logistic_ucb": logistic_ucb.INFO,
        "logistic_hybrid_thompson": logistic_hybrid_thompson.INFO,
        "logistic_hybrid_ucb": logistic_hybrid_ucb.INFO,
        "hybrid_thompson": hybrid_thompson.INFO,
        "hybrid_ucb": hybrid_ucb.INFO,
    }
)


AUTO = "auto"
"""In a policy's file: the rule for what the policy declares."""


def chosen_by(*, has_context: bool) -> str:
    """Return the rule that `auto` is.

    >>> chosen_by(has_context=False)
    'auto_rates'
    """
    return auto_linear.AutoLinear.name if has_context else auto_rates.AutoRates.name


def model_for(name: str, parameters: Mapping[str, float]) -> Model:
    """Return the algorithm of this name; parameters that are not given take their defaults.

    Raises ConfigError, with every fault, for an unknown name or parameter or a value out of range.

    >>> model_for("beta_thompson", {"prior_beta": 9})
    BetaThompson(prior_alpha=1.0, prior_beta=9.0, sharpness=1.0)
    """
    if name not in ALGORITHMS:
        raise ConfigError("algorithm", [f"{name!r} is none of {', '.join(ALGORITHMS)}"])
    info = ALGORITHMS[name]
    values = {key: parameter.default for key, parameter in info.parameters.items()} | dict(parameters)
    if faults := _faults(values, info):
        raise ConfigError(f"algorithm {name}", faults)
    return info.build(**{key: float(value) for key, value in values.items()})


def _faults(values: Mapping[str, float], info: AlgorithmInfo) -> list[str]:
    faults = []
    for key, value in values.items():
        accepted = info.parameters.get(key)
        if accepted is None:
            faults.append(f"parameter {key!r} is none of {', '.join(info.parameters)}")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            faults.append(f"{key} must be a number: seen {value!r}")
        elif not accepted.low <= value <= accepted.high:
            faults.append(f"{key} must lie in [{accepted.low:g}, {accepted.high:g}]: seen {value!r}")
    return faults
