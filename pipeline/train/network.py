"""Decisions and what they earned → an encoder (Riquelme, Tucker & Snoek 2018: the last layer of a reward network).

One network predicts every arm's reward from the features; of each decision only the arm that was shown teaches it.
scikit-learn fits all outputs at once, so the others are given its own prediction as their target, just before each
step: their error, and with it their gradient, is nothing.

Rectified units may be scaled at will, as the next layer takes it back: max(c z, 0) = c max(z, 0). So each is scaled to
reach 1 on the data, where the grid of 2^-12 is fine enough, and rounded. The head learns from the rounded units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPRegressor

from pipeline.models.grid import FEATURE_BITS, FEATURE_LIMIT, features_from_grid
from pipeline.models.model import Floats
from pipeline.policy.encoder import Encoder, Layer

UNITS = (64, 32)
STEPS = 1_500
"""Least number of steps, however few the decisions."""
PASSES = 40
"""Least number of passes over them, however many."""
BATCH = 128
_LARGEST = FEATURE_LIMIT / (1 << FEATURE_BITS)


class Examples(NamedTuple):
    """m decisions that have settled."""

    vectors: NDArray[np.int16]
    """(m, 1 + inputs) of the features, with the leading 1."""
    arm: NDArray[np.int64]
    """(m,) from 0."""
    reward: Floats
    """(m,)."""

    def some(self, chosen: slice | NDArray[np.bool_]) -> Examples:
        """Return some of them."""
        return Examples(self.vectors[chosen], self.arm[chosen], self.reward[chosen])


def train_encoder(
    examples: Examples, arms: int, seed: int, units: Sequence[int] = UNITS, steps: int = STEPS
) -> Encoder:
    """Train a network for `steps` or more; the same examples and seed give the same one on the same machine."""
    x = features_from_grid(examples.vectors[:, 1:])
    spread = float(examples.reward.std()) or 1.0
    target = (examples.reward - examples.reward.mean()) / spread
    network = MLPRegressor(hidden_layer_sizes=tuple(units), learning_rate_init=3e-3, alpha=1e-4, random_state=seed)
    rng = np.random.default_rng((seed, 5))
    network.partial_fit(x[:1], np.zeros((1, arms) if arms > 1 else 1))  # lays out the weights
    for _ in range(max(PASSES, steps // -(-len(x) // BATCH))):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            batch = order[start : start + BATCH]
            predicted = network.predict(x[batch]).reshape(len(batch), arms)
            wanted = targets(predicted, examples.arm[batch], target[batch])
            network.partial_fit(x[batch], wanted if arms > 1 else wanted.ravel())
    hidden = zip(network.intercepts_[:-1], network.coefs_[:-1], strict=True)
    return to_grid([np.vstack((bias, coefficients)).T for bias, coefficients in hidden], x)


def targets(predicted: Floats, arm: NDArray[np.int64], reward: Floats) -> Floats:
    """Return what each arm should have come to, (m, arms): the reward of the one shown; what is predicted of others."""
    wanted = predicted.copy()
    wanted[np.arange(len(arm)), arm] = reward
    return wanted


def to_grid(weights: Sequence[Floats], x: Floats) -> Encoder:
    """Scale rectified layers (units, 1 + inputs) by what they come to on inputs x (m, inputs), and round them."""
    layers = []
    h, scale = x, np.ones(x.shape[1])
    for exact in weights:
        h = np.maximum(exact[:, 0] + h @ exact[:, 1:].T, 0.0)
        given = np.hstack((exact[:, :1], exact[:, 1:] / scale))  # as its inputs were scaled
        highest = h.max(axis=0)
        # A unit that is 0 on all the data stays 0; one with weights beyond the grid is scaled to fit them.
        scale = np.minimum(1.0 / np.where(highest > 0.0, highest, 1.0), _LARGEST / np.abs(given).max(axis=1))
        layers.append(Layer(np.rint(np.ldexp(given * scale[:, None], FEATURE_BITS)).astype(np.int16)))
    return Encoder(tuple(layers))
