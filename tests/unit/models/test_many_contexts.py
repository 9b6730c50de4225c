from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.stats import norm

from pipeline.models import ALGORITHMS, model_for
from pipeline.models.chances import normal_kernel
from pipeline.models.chances.trapezoid import normal_best
from pipeline.models.grid import Grid
from pipeline.models.many_contexts import probabilities_many
from pipeline.models.model import Posterior
from pipeline.models.sums.statistics import Statistics, contributions


def linear(K: int, d: int, seed: int = 1) -> Posterior:
    rng = np.random.default_rng(seed)
    roots = rng.normal(0.0, 0.2, (K, d, d))
    return Posterior({"theta": rng.normal(0.0, 0.3, (K, d)), "covariance": roots @ roots.transpose(0, 2, 1)})


def truth(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Integrate ten times as finely, over two deviations more, with the distribution function itself."""
    at = np.arange((mean - 7.0 * sd).max(), (mean + 9.0 * sd).max(), sd.min() / 20.0)[:, None]
    cdf = np.maximum(norm.cdf(at, mean, sd), 1e-300)
    chances: np.ndarray = (norm.pdf(at, mean, sd) / cdf * cdf.prod(1)[:, None]).sum(0) * sd.min() / 20.0
    return chances


@pytest.mark.parametrize("K", [1, 2, 3, 20, 50, 300])
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.3, 5.0])
@pytest.mark.parametrize("scales", [0.0, 0.2, 0.5, 1.0])
def test_every_row_is_within_a_hundredth_of_what_is_promised(K: int, spread: float, scales: float) -> None:
    rng = np.random.default_rng(7)
    mean, sd = rng.normal(0.0, spread, (10, K)), 0.1 * 10.0 ** rng.uniform(-scales, 0.0, (10, K))
    exact = np.array([truth(*row) for row in zip(mean, sd, strict=True)])
    np.testing.assert_allclose(normal_best(mean, sd), exact, atol=1e-8)


def test_a_row_gives_the_same_bytes_alone_and_among_others() -> None:
    rng = np.random.default_rng(3)
    mean, sd = rng.normal(0.0, 1.0, (30, 50)), rng.uniform(0.3, 1.0, (30, 50))
    chances = normal_best(mean, sd)
    assert [normal_best(mean[row : row + 1], sd[row : row + 1]).tobytes() for row in range(30)] == [
        row.tobytes() for row in chances
    ]


def test_arms_far_from_zero_keep_their_digits() -> None:
    mean, sd = np.array([[0.0, 0.5, 0.25]]), np.array([[1.0, 0.5, 0.25]])
    np.testing.assert_allclose(normal_best(mean + 2.0**30, sd), normal_best(mean, sd), atol=1e-12)


def test_whatever_array_holds_the_numbers() -> None:
    mean, sd = np.array([[0.0, 0.5, 0.25]]), np.array([[1.0, 0.5, 0.25]])
    kept = np.broadcast_to(mean, (2, 3))  # not contiguous, read-only
    np.testing.assert_array_equal(normal_best(kept, np.repeat(sd, 2, axis=0)), np.repeat(normal_best(mean, sd), 2, 0))
    whole = np.array([[0, 1]])
    np.testing.assert_array_equal(normal_best(whole, whole + 1), normal_best(whole * 1.0, whole + 1.0))


def test_where_no_folder_can_be_written_to_the_loops_are_compiled_all_the_same(monkeypatch) -> None:
    def njit(signature: str, *, error_model: str, cache: bool = False) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(signature, error_model=error_model)

    monkeypatch.setattr(normal_kernel, "njit", njit)
    assert normal_kernel._compiled("float64(float64)")(lambda x: 2.0 * x)(1.5) == 3.0


def test_what_is_not_covered_is_said_to_be() -> None:
    mean = np.array(
        [[0.0, 1.0], [np.nan, 1.0], [0.0, np.inf], [0.0, 1.0], [0.0, 1.0], [-9.0, 1.0], [9.0, 1.0], [0, 0], [0, 5]]
    )
    sd = np.array(
        [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.001, 1.0], [-1.0, 1.0], [np.nan, 1.0], [0, 0], [0, 1]]
    )
    chances = normal_best(mean, sd)
    assert np.isnan(chances).all(1).tolist() == [False, *[True] * 8]
    assert not np.isnan(chances[0]).any()


def test_a_point_among_the_rows_is_asked_alone() -> None:
    posterior = linear(3, 4)
    contexts = np.vstack([np.zeros(4), np.ones((3, 4))])  # all widths are 0 where the context is
    chances = probabilities_many(model_for("linear_thompson", {}), posterior, contexts)
    np.testing.assert_allclose(chances[0], [1 / 3] * 3)
    assert chances[1].sum() == pytest.approx(1.0)


# Those that count decisions by context have a test of their own: test_logistic_thompson.py.
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, info in ALGORITHMS.items()
        if info.needs_context and not info.counts_contexts and not info.counts_groups
    ],
)
def test_every_model_says_of_many_what_it_says_of_one(name: str) -> None:
    d, rng = 5, np.random.default_rng(2)
    X = rng.integers(-(2**12), 2**12 + 1, (6, 40, d)).astype(np.int16)
    rewards = rng.integers(0, 2, (6, 40)) * 2**15
    sums = [Statistics(d, contributions(*each)) for each in zip(X, rewards, strict=True)]
    model = model_for(name, {})
    posterior = model.posterior(sums, Grid(15))
    contexts = rng.normal(0.0, 1.0, (9, d))
    alone = np.array([model.probabilities(posterior, context) for context in contexts])
    np.testing.assert_allclose(probabilities_many(model, posterior, contexts), alone, atol=1e-7)
