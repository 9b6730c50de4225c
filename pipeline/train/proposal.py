"""A policy and its log → its next generation, with an encoder; and what a linear model makes of either encoding."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pipeline.errors import ConfigError
from pipeline.evaluate.log import DecisionLog
from pipeline.models import ALGORITHMS
from pipeline.models.grid import features_from_grid
from pipeline.models.model import Floats
from pipeline.models.regressions.linear import solve
from pipeline.policy.definition import PolicyDefinition
from pipeline.train.network import Examples, train_encoder

LEAST = 200
"""Decisions from which on a network is worth a try."""
HELD_OUT = 0.2
"""Share of the decisions, the last ones, that both encodings are measured on."""


class Proposal(NamedTuple):
    """What training came to."""

    definition: PolicyDefinition
    """The policy with an encoder trained from all decisions, one generation on."""
    decisions: int
    """How many could be learned from."""
    refused: int
    """How many have a context that can't be encoded."""
    error_before: float
    """Mean squared error, on decisions held out, of a ridge regression per arm on the features."""
    error_after: float
    """The same on an encoder that has not seen those decisions either."""


def propose(definition: PolicyDefinition, log: DecisionLog, seed: int) -> Proposal:
    """Train an encoder for a policy.

    Raises:
        ConfigError: the policy looks at no features, or there are too few decisions.
    """
    what = f"policy {definition.name}"
    if not definition.features.features:
        raise ConfigError(what, ["has no features that a network could encode; add some under [[context]]"])
    name = definition.algorithm.name
    if not ALGORITHMS[name].needs_context:
        raise ConfigError(what, [f"algorithm {name} looks at no context; take linear_thompson or lin_ucb"])
    features = replace(definition.features, encoder=None)
    vectors, errors = features.encode_at(log.contexts, log.decided_at_ms.tolist())
    sound = np.array([error is None for error in errors], np.bool_)
    examples = Examples(vectors, np.asarray(log.arm, np.int64), np.asarray(log.reward)).some(sound)
    count = len(examples.arm)
    if count < LEAST:
        raise ConfigError(what, [f"{count} settled decisions can be learned from, expected {LEAST} or more; wait"])
    arms = len(log.arms)
    cut = count - int(HELD_OUT * count)
    early, late = examples.some(slice(cut)), examples.some(slice(cut, None))
    trial = train_encoder(early, arms, seed)
    after = [one._replace(vectors=trial.encode(one.vectors)) for one in (early, late)]
    encoder = train_encoder(examples, arms, seed)
    # A network stands instead of the features, and of what `auto` had set beside them.
    kept = {key: value for key, value in definition.algorithm.parameters.items() if key != "wide"}
    proposed = replace(
        definition,
        generation=definition.generation + 1,
        features=replace(features, encoder=encoder),
        algorithm=replace(definition.algorithm, parameters=kept),
    )
    return Proposal(
        proposed, count, len(errors) - count, ridge_error(early, late, arms), ridge_error(after[0], after[1], arms)
    )


def ridge_error(early: Examples, late: Examples, arms: int) -> float:
    """Return the mean squared error on `late` of one ridge regression per arm (λ = 1) on `early`."""
    x, y = features_from_grid(early.vectors), early.reward
    d = x.shape[1]
    A, b = np.tile(np.eye(d), (arms, 1, 1)), np.zeros((arms, d))
    for arm in range(arms):
        mine = early.arm == arm
        A[arm] += x[mine].T @ x[mine]
        b[arm] = x[mine].T @ y[mine]
    theta = solve(A, b, 1.0).theta
    predicted: Floats = (features_from_grid(late.vectors) * theta[late.arm]).sum(axis=1)
    return float(((predicted - late.reward) ** 2).mean())
