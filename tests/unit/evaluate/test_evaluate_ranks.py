from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.ranks import beta_ranks
from pipeline.models.chances.best_arm import beta_best


def test_the_first_rank_is_the_chance_to_be_best_and_each_rank_is_filled():
    alpha, beta = np.array([12.0, 3.0, 900.0, 40.0]), np.array([3000.0, 800.0, 200_000.0, 9000.0])
    ranks = beta_ranks(alpha, beta, 4)
    assert ranks[0] == pytest.approx(beta_best(alpha, beta), abs=1e-6)
    assert ranks.sum(axis=1) == pytest.approx(np.ones(4))
    # With as many ranks as arms, every arm is somewhere.
    assert ranks.sum(axis=0) == pytest.approx(np.ones(4), abs=1e-8)


def test_two_arms_have_their_chances_exchanged_at_the_second_rank():
    # Beta(2, 1) against Beta(1, 1): P(best) = ∫ 2t · t dt = 2/3
    assert beta_ranks(np.array([2.0, 1.0]), np.array([1.0, 1.0]), 2) == pytest.approx(
        np.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3]]), abs=1e-7
    )


def test_ranks_agree_with_sorted_draws():
    rng = np.random.default_rng(4)
    alpha, beta = rng.uniform(1.0, 60.0, 12), rng.uniform(500.0, 2_000.0, 12)
    draws = 100_000
    order = rng.beta(alpha, beta, (draws, 12)).argsort(axis=1)[:, ::-1]
    found = beta_ranks(alpha, beta, 3)
    for rank in range(3):
        share = np.bincount(order[:, rank], minlength=12) / draws
        error = np.sqrt(found[rank] * (1 - found[rank]) / draws)
        assert (np.abs(share - found[rank]) < 5 * error + 1e-6).all()


@pytest.mark.parametrize("ranks", [0, 3])
def test_more_ranks_than_arms_are_refused(ranks):
    with pytest.raises(ValueError, match="2 arms fill 1 to 2 positions"):
        beta_ranks(np.ones(2), np.ones(2), ranks)
