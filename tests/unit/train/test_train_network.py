from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.grid import features_from_grid
from pipeline.train.network import Examples, targets, to_grid, train_encoder
from pipeline.train.proposal import ridge_error

ONE = 4096


def corners(m: int, seed: int) -> Examples:
    """Arm 0 pays where the signs of x and y agree, arm 1 where they don't: no line tells them apart."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (m, 2))
    arm = rng.integers(0, 2, m)
    agree = np.prod(np.sign(x), axis=1) > 0
    vectors = np.hstack((np.full((m, 1), ONE), np.rint(x * ONE))).astype(np.int16)
    return Examples(vectors, arm, (agree == (arm == 0)).astype(np.float64))


def test_what_no_line_tells_apart_is_linear_in_what_the_encoder_gives():
    seen, unseen = corners(1_500, 1), corners(1_000, 2)
    encoder = train_encoder(seen, 2, seed=1, units=(16, 8))
    # By chance half of the rewards are 1: a line can do no better than their variance, 0.25.
    assert ridge_error(seen, unseen, 2) > 0.24
    after = (one._replace(vectors=encoder.encode(one.vectors)) for one in (seen, unseen))
    assert ridge_error(*after, 2) < 0.08


def test_the_same_examples_and_seed_give_the_same_encoder_and_another_seed_another():
    examples = corners(300, 3)
    first, again, other = (train_encoder(examples, 2, seed, units=(8,), steps=100) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_an_arm_that_was_never_shown_teaches_nothing():
    # A third arm without a decision adds outputs to the network, and so other first weights: but the two learn as well.
    seen, unseen = corners(1_500, 1), corners(1_000, 2)
    encoder = train_encoder(seen, 3, seed=1, units=(16, 8))
    after = (one._replace(vectors=encoder.encode(one.vectors)) for one in (seen, unseen))
    assert ridge_error(*after, 2) < 0.08


def test_the_arms_that_were_not_shown_are_where_they_should_be_already():
    predicted = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    assert targets(predicted, np.array([2, 0]), np.array([7.0, 8.0])).tolist() == [[0.1, 0.2, 7.0], [8.0, 0.5, 0.6]]


def test_rewards_that_are_all_alike_and_a_single_arm_are_learned_from_too():
    examples = corners(250, 4)._replace(arm=np.zeros(250, np.int64), reward=np.ones(250))
    assert train_encoder(examples, 1, seed=1, units=(4,)).dimension == 5


@pytest.mark.parametrize("size", [0.01, 1.0, 300.0])
def test_rounding_to_the_grid_keeps_the_network_up_to_the_scale_of_its_units(size):
    # Weights far below a grid step of use, or far beyond the grid, are scaled into it.
    rng = np.random.default_rng(5)
    weights = [size * rng.standard_normal((6, 4)), rng.standard_normal((5, 7)) / size]
    vectors = np.hstack((np.full((400, 1), ONE), rng.integers(-ONE, ONE, (400, 3)))).astype(np.int16)
    x = features_from_grid(vectors[:, 1:])
    encoder = to_grid(weights, x)
    h = x
    for exact in weights:
        h = np.maximum(exact[:, 0] + h @ exact[:, 1:].T, 0.0)
    found = features_from_grid(encoder.encode(vectors)[:, 1:])
    for unit in range(5):
        if h[:, unit].max() == 0:
            assert not found[:, unit].any()
            continue
        # Half steps are 2^-13 = 1.2e-4. A unit of the first layer is off by 4 weights' and its own, 6.1e-4; one of the
        # second by 6 of those times weights below 8, 7 weights' and its own: 0.0294 + 0.0010.
        # Either side of the quotient is off by that, of a unit that may reach less than 1.
        bound = 2 * 0.0304 / found[:, unit].max()
        np.testing.assert_allclose(found[:, unit] / found[:, unit].max(), h[:, unit] / h[:, unit].max(), atol=bound)
