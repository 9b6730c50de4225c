"""Every algorithm against a computation of its own, from raw decisions, by numpy's solver and scipy's distributions.

Posteriors agree to 1e-9, propensities to 1e-6. An algorithm without a reference here fails the first test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from pipeline.models import ALGORITHMS, model_for
from pipeline.models.algorithms.linear_ensemble import beginnings
from pipeline.models.grid import FEATURE_BITS, Grid
from pipeline.models.model import Sums, posteriors
from pipeline.models.sums.contexts import context_name, weigh_contexts
from pipeline.models.sums.groups import GROUPS, group_name, halves, weigh_groups
from pipeline.models.sums.importance import entries, weigh_importance
from pipeline.models.sums.objectives import Weights
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.models.sums.weighted import weigh

ONE, D, GRID = 2**15, 3, Grid(15)
CONTEXT = np.array([1.0, 0.3, -0.6])
FEATURES = ((0.5,), (-0.25,), (1.0,))


class Arm(NamedTuple):
    """Raw decisions, in units of features and rewards."""

    X: np.ndarray
    r: np.ndarray
    p: np.ndarray
    group: np.ndarray


def arm(seed: int, m: int) -> Arm:
    rng = np.random.default_rng((77, seed))
    X = rng.integers(-4, 5, (m, D)) / 4.0  # few distinct ones, as where contexts are counted
    X[:, 0] = 1.0
    r = rng.choice([0.0, 0.5, 1.0], m, p=[0.5 - 0.1 * (seed % 3), 0.3, 0.2 + 0.1 * (seed % 3)])
    return Arm(X, r, rng.choice([0.25, 0.5, 0.8], m), rng.integers(0, GROUPS, m))


ARMS = [arm(seed, m) for seed, m in enumerate((40, 55, 30))]


def sums_of(seen: Arm, name: str, features: tuple[float, ...] = ()) -> Sums:
    info = ALGORITHMS[name]
    grid, rewards = (seen.X * 2**FEATURE_BITS).astype(np.int16), (seen.r * ONE).astype(np.int64)
    d = D if info.needs_context else 0
    whole: Sums = Statistics(d, contributions(grid[:, :d], rewards))
    if features:
        whole = weigh([(1.0, whole)], d, 15, None, features)  # type: ignore[list-item]
    if info.counts_contexts:
        rows = [(1.0, 1.0, context_name(x), row(1, reward)) for x, reward in zip(grid.tolist(), rewards, strict=True)]
        return weigh_contexts(rows, whole, D, FEATURE_BITS, 15)
    if info.counts_groups:
        parts = [(g, seen.group == g) for g in range(GROUPS)]
        told = [
            (1.0, 1.0, group_name(g), Statistics(D, contributions(grid[mine], rewards[mine])))
            for g, mine in parts
            if mine.any()
        ]
        return weigh_groups(told, whole, D, 15)
    if info.counts_propensities:
        drawn = [(1.0, 1.0, row(*entries(p, [int(r)]))) for p, r in zip(seen.p.tolist(), rewards, strict=True)]
        return weigh_importance(drawn, whole, Weights((1,), 0))
    return whole


def row(*counts: int) -> Statistics:
    return Statistics(-len(counts), np.array(counts, np.int64))


def largest_of(distributions: list) -> np.ndarray:
    """Integrate each density times the others' chances to lie below, by adaptive quadrature."""
    low = min(one.ppf(1e-13) for one in distributions)
    high = max(one.ppf(1 - 1e-13) for one in distributions)
    middles = sorted(float(one.median()) for one in distributions)

    def share(own: int) -> float:
        def density(t: float) -> float:
            others = math.prod(float(one.cdf(t)) for k, one in enumerate(distributions) if k != own)
            return float(distributions[own].pdf(t)) * others

        return float(integrate.quad(density, low, high, points=middles, epsabs=1e-10, epsrel=1e-10, limit=400)[0])

    return np.array([share(own) for own in range(len(distributions))])


Reference = tuple[dict[str, np.ndarray], np.ndarray]
"""Posterior arrays by name, and the arms' chances."""


def moments() -> dict[str, np.ndarray]:
    return {
        "n": np.array([float(len(one.r)) for one in ARMS]),
        "mean": np.array([one.r.mean() for one in ARMS]),
        "variance": np.array([one.r.var() for one in ARMS]),
    }


def one_hot(index: np.ndarray) -> np.ndarray:
    return np.eye(len(index))[int(np.argmax(index))]


def beta() -> Reference:
    known = {
        "alpha": np.array([1 + one.r.sum() for one in ARMS]),
        "beta": np.array([1 + (1 - one.r).sum() for one in ARMS]),
    }
    return known, largest_of([stats.beta(a, b) for a, b in zip(known["alpha"], known["beta"], strict=True)])


def gaussian() -> Reference:
    default = {name: one.default for name, one in ALGORITHMS["gaussian_thompson"].parameters.items()}
    m, kappa, a = default["prior_mean"], default["prior_weight"], default["prior_shape"]
    b = a * default["prior_deviation"] ** 2
    found = []
    for one in ARMS:  # one reward after another (Murphy 2007)
        mu, k, shape, rate = m, kappa, a, b
        for reward in one.r.tolist():
            rate += 0.5 * k * (reward - mu) ** 2 / (k + 1)
            mu, k, shape = (k * mu + reward) / (k + 1), k + 1, shape + 0.5
        found.append((mu, math.sqrt(rate / (shape * k)), 2 * shape))
    location, scale, freedom = (np.array(column) for column in zip(*found, strict=True))
    known = {"location": location, "scale": scale, "freedom": freedom}
    return known, largest_of([stats.t(f, mu, s) for mu, s, f in found])


def poisson() -> Reference:
    default = {name: one.default for name, one in ALGORITHMS["poisson_thompson"].parameters.items()}
    shape = np.array([default["prior_shape"] + one.r.sum() for one in ARMS])
    rate = np.array([default["prior_rate"] + len(one.r) for one in ARMS])
    return {"shape": shape, "rate": rate}, largest_of(
        [stats.gamma(a, scale=1 / b) for a, b in zip(shape, rate, strict=True)]
    )


def ucb1() -> Reference:
    known = moments()
    return known, one_hot(known["mean"] + np.sqrt(2 * np.log(known["n"].sum()) / known["n"]))


def ucb_tuned() -> Reference:
    known = moments()
    per = np.log(known["n"].sum()) / known["n"]
    return known, one_hot(known["mean"] + np.sqrt(per * np.minimum(0.25, known["variance"] + np.sqrt(2 * per))))


def kl_ucb() -> Reference:
    known = moments()
    t, scale = known["n"].sum(), ALGORITHMS["kl_ucb"].parameters["scale"].default
    index = []
    for n, p in zip(known["n"], known["mean"], strict=True):
        bound = scale * math.log(t / n) / n

        def excess(q: float, p: float = p, bound: float = bound) -> float:
            return float(special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q)) - bound

        index.append(optimize.brentq(excess, p, 1 - 1e-12))
    return known, one_hot(np.array(index))


def epsilon_greedy() -> Reference:
    known = moments()
    return known, 0.9 * one_hot(known["mean"]) + 0.1 / 3


def fixed_split() -> Reference:
    return moments(), np.full(3, 1 / 3)  # of 125 decisions, the test takes 2,000


def importance() -> dict[str, np.ndarray]:
    return moments() | {
        "drawn": np.array([sum(round(ONE / p) for p in one.p) / ONE for one in ARMS]),
        "earned": np.array([sum(round(r * ONE / p) for r, p in zip(one.r, one.p, strict=True)) / ONE for one in ARMS]),
    }


def above(known: dict[str, np.ndarray]) -> np.ndarray:
    c = sum(one.r.sum() for one in ARMS) / sum(len(one.r) for one in ARMS)
    return known["earned"] - c * known["drawn"]


def exp3() -> Reference:
    known = importance()
    share = min(1.0, math.sqrt(3 * math.log(3) / ((math.e - 1) * known["earned"].max())))
    return known, (1 - share) * special.softmax(share / 3 * above(known)) + share / 3


def tsallis_inf() -> Reference:
    known, every = importance(), np.concatenate([one.r for one in ARMS])
    t = len(every)
    eta = 1 / math.sqrt((((every - every.mean()) ** 2).sum() + 0.25) / (t + 1) * t)
    gains = above(known)
    x = optimize.brentq(
        lambda x: (4 / (eta * (x - gains)) ** 2).sum() - 1,
        gains.max() + 1 / eta,
        gains.max() + 9 / eta,
        xtol=1e-13,
        rtol=1e-14,
    )
    return known, 4 / (eta * (x - gains)) ** 2


def ridge() -> tuple[np.ndarray, np.ndarray]:
    covariance = np.array([np.linalg.inv(np.eye(D) + one.X.T @ one.X) for one in ARMS])
    return np.array([C @ one.X.T @ one.r for C, one in zip(covariance, ARMS, strict=True)]), covariance


def linear(name: str) -> Reference:
    theta, covariance = ridge()
    known = {"theta": theta, "covariance": covariance}
    mean, width = theta @ CONTEXT, np.sqrt(np.einsum("i,kij,j->k", CONTEXT, covariance, CONTEXT))
    if name == "linear_thompson":
        return known, largest_of([stats.norm(m, 0.25 * s) for m, s in zip(mean, width, strict=True)])
    if name == "lin_ucb":
        return known, one_hot(mean + 0.5 * width)
    gaps = ALGORITHMS["square_cb"].parameters["gamma"].default * math.sqrt(125) * (mean.max() - mean)
    smooth = optimize.brentq(lambda s: (1 / (s + gaps)).sum() - 1, 1 - 1e-9, 3 + 1e-9, xtol=1e-14, rtol=1e-14)
    return known, 1 / (smooth + gaps)


def ahead(mean: np.ndarray, deviation: np.ndarray, leverage: np.ndarray, decisions: float) -> np.ndarray:
    """Spend decisions where an index of this deviation is highest, each of which makes its arm's leverage less."""

    def spent(level: float) -> np.ndarray:
        return np.maximum((deviation / (level - mean)) ** 2 - 1 / leverage, 0.0)

    top = (mean + deviation * np.sqrt(leverage)).max()
    level = optimize.brentq(lambda x: spent(x).sum() - decisions, mean.max() + 1e-12, top, xtol=1e-15, rtol=1e-14)
    return spent(level) / decisions


def auto_linear() -> Reference:
    (low, high), every = GRID.range, np.concatenate([one.X for one in ARMS])
    rewards = np.concatenate([one.r for one in ARMS])
    to_standard = np.eye(D)
    for i in range(1, D):
        to_standard[i, 0], to_standard[i, i] = -every[:, i].mean() / every[:, i].std(), 1 / every[:, i].std()
    known = [(one.X @ to_standard.T, one.r - rewards.mean()) for one in ARMS]
    ridge, V, N = 1.0, (high - low) ** 2 / 4, len(rewards)
    for left in reversed(range(6)):
        P = [np.linalg.inv(X.T @ X + np.diag([1.0, ridge, ridge])) for X, _ in known]
        theta = [one @ X.T @ r for one, (X, r) in zip(P, known, strict=True)]
        rest = sum(r @ r - (X.T @ r) @ t for t, (X, r) in zip(theta, known, strict=True))
        noise = (rest + V + ((rewards - rewards.mean()) ** 2).sum() / N) / (N + 2)
        if left:  # MacKay 1992, with a hyperprior of 0.3 effective parameters a feature
            gamma = sum(1 - ridge * one[i, i] for one in P for i in range(1, D))
            size = sum(t[i] ** 2 for t in theta for i in range(1, D))
            ridge = (gamma + 0.3 * (D - 1)) / (size / noise + 0.3 * (D - 1))
    n = np.array([len(one.r) for one in ARMS])
    deviation = np.sqrt(noise + V * (n + 1.0) ** -1.5)
    told = np.array([to_standard.T @ t for t in theta])
    told[:, 0] += rewards.mean()
    covariance = np.array([to_standard.T @ one @ to_standard for one in P])
    leverage = np.einsum("i,kij,j->k", CONTEXT, covariance, CONTEXT)
    posterior = {"theta": told, "covariance": covariance, "deviation": deviation}
    return posterior, ahead(told @ CONTEXT, deviation, leverage, 2.0)


def auto_rates() -> Reference:
    (low, high), n = GRID.range, np.array([float(len(one.r)) for one in ARMS])
    unit = [(one.r - low) / (high - low) for one in ARMS]
    total, N = np.array([one.sum() for one in unit]), n.sum()
    likely = (total.sum() + 0.5) / (N + 1)
    coin = likely * (1 - likely)
    within = sum(((one - one.mean()) ** 2).sum() for one in unit)
    vary = min((within + coin) / (N + 1) / coin, 1.0)
    dispersion = vary + (1 - vary) * (n + 1) ** -1.5
    mean = (total + 2 * likely) / (n + 2)
    level = np.log1p((N + 1) / (3 * (n + 1)))

    def divergence(p: float, q: float) -> float:
        return float(special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q))

    upper = [
        optimize.brentq(lambda q, p=p, most=most: divergence(p, q) - most, p, 1 - 1e-15, xtol=1e-15, rtol=1e-14)
        for p, most in zip(mean.tolist(), (dispersion * level / (n + 2)).tolist(), strict=True)
    ]
    error = (high - low) * np.sqrt(dispersion * mean * (1 - mean) / (n + 2))
    posterior = {"n": n, "mean": low + (high - low) * mean, "dispersion": dispersion, "standard_error": error}
    return posterior, ahead(mean, (np.array(upper) - mean) * np.sqrt(n + 2), 1 / (n + 2), 20.0)


def ensemble() -> Reference:
    members = []
    for one in ARMS:
        own = []
        for taken, start in zip(halves(), 0.25 * beginnings(D), strict=True):
            W = np.sqrt(taken[one.group])[:, None]
            stacked = np.concatenate((W * one.X, np.eye(D)))
            own.append(np.linalg.lstsq(stacked, np.append(W[:, 0] * one.r, start), rcond=None)[0])
        members.append(own)
    known = np.array(members)
    said = known @ CONTEXT
    wins = np.zeros(3)
    for places in product(range(said.shape[1]), repeat=3):
        wins[int(np.argmax([said[k, place] for k, place in enumerate(places)]))] += 1
    return {"members": known}, wins / wins.sum()


def logistic(name: str) -> Reference:
    lam = ALGORITHMS[name].parameters["ridge"].default
    modes, covariances = [], []
    for one in ARMS:

        def slope(theta: np.ndarray, one: Arm = one) -> np.ndarray:
            return one.X.T @ (one.r - special.expit(one.X @ theta)) - lam * theta

        theta = optimize.root(slope, np.zeros(D), tol=1e-13).x
        chance = special.expit(one.X @ theta)
        modes.append(theta)
        covariances.append(np.linalg.inv(one.X.T @ ((chance * (1 - chance))[:, None] * one.X) + lam * np.eye(D)))
    theta, covariance = np.array(modes), np.array(covariances)
    mean, width = theta @ CONTEXT, np.sqrt(np.einsum("i,kij,j->k", CONTEXT, covariance, CONTEXT))
    known = {"theta": theta, "covariance": covariance}
    if name == "logistic_ucb":
        return known, one_hot(mean + 0.5 * width)
    return known, largest_of([stats.norm(m, s) for m, s in zip(mean, width, strict=True)])


def hybrid(name: str) -> Reference:
    """Regress on φ = z ⊗ x, which all arms share, and on each arm's own x, all at once."""
    default = {key: one.default for key, one in ALGORITHMS[name].parameters.items()}
    shared, own = 2 * D, 3 * D
    precision = np.diag([default["ridge_shared"]] * shared + [default["ridge_own"]] * own)
    target, maps = np.zeros(shared + own), []
    for a, one in enumerate(ARMS):
        to_theta = np.hstack((np.kron([1.0, *FEATURES[a]], np.eye(D)), np.kron(np.eye(3)[a], np.eye(D))))
        phi = one.X @ to_theta
        precision += phi.T @ phi
        target += phi.T @ one.r
        maps.append(to_theta)
    C = np.linalg.inv(precision)
    theta = np.array([to_theta @ C @ target for to_theta in maps])
    scores = np.array([CONTEXT @ to_theta for to_theta in maps])
    mean, joint = theta @ CONTEXT, scores @ C @ scores.T
    if name == "hybrid_ucb":
        return {"theta": theta}, one_hot(mean + default["alpha"] * np.sqrt(joint.diagonal()))
    # Independent arms, less what any two have in common.
    common = min(joint[a, b] for a in range(3) for b in range(3) if a != b)
    M = [np.linalg.inv(default["ridge_own"] * np.eye(D) + one.X.T @ one.X) for one in ARMS]
    least = np.array([CONTEXT @ m @ CONTEXT for m in M])
    width = default["v"] * np.sqrt(np.maximum(joint.diagonal() - common, least))
    return {"theta": theta}, largest_of([stats.norm(m, s) for m, s in zip(mean, width, strict=True)])


def logistic_hybrid(name: str) -> Reference:
    """Climb in all coefficients at once, shared and own: θ_a = Θ z_a + δ_a."""
    default = {key: one.default for key, one in ALGORITHMS[name].parameters.items()}
    maps = [np.hstack((np.kron([1.0, *FEATURES[a]], np.eye(D)), np.kron(np.eye(3)[a], np.eye(D)))) for a in range(3)]
    prior = np.array([default["ridge_shared"]] * 2 * D + [default["ridge_own"]] * 3 * D)

    def slope(beta: np.ndarray) -> np.ndarray:
        rest = [to_theta.T @ one.X.T @ (one.r - special.expit(one.X @ to_theta @ beta)) for to_theta, one in known]
        return np.sum(rest, axis=0) - prior * beta

    known = list(zip(maps, ARMS, strict=True))
    mode = optimize.root(slope, np.zeros(len(prior)), tol=1e-13).x
    H = np.diag(prior)
    for to_theta, one in known:
        chance = special.expit(one.X @ to_theta @ mode)
        phi = one.X @ to_theta
        H = H + phi.T @ ((chance * (1 - chance))[:, None] * phi)
    C = np.linalg.inv(H)
    scores = np.array([CONTEXT @ to_theta for to_theta in maps])
    joint = scores @ C @ scores.T
    theta = np.array([to_theta @ mode for to_theta in maps])
    if name == "logistic_hybrid_ucb":
        return {"theta": theta}, one_hot(scores @ mode + default["alpha"] * np.sqrt(joint.diagonal()))
    common = min(joint[a, b] for a in range(3) for b in range(3) if a != b)
    own = []
    for to_theta, one in known:
        chance = special.expit(one.X @ to_theta @ mode)
        M = np.linalg.inv(default["ridge_own"] * np.eye(D) + one.X.T @ ((chance * (1 - chance))[:, None] * one.X))
        own.append(CONTEXT @ M @ CONTEXT)
    width = np.sqrt(np.maximum(joint.diagonal() - common, own))
    return {"theta": theta}, largest_of([stats.norm(m, s) for m, s in zip(scores @ mode, width, strict=True)])


REFERENCES: dict[str, Callable[[], Reference]] = {
    "beta_thompson": beta,
    "hierarchical_thompson": beta,  # alone, a segment borrows nothing; together: below
    "gaussian_thompson": gaussian,
    "poisson_thompson": poisson,
    "kl_ucb": kl_ucb,
    "ucb_tuned": ucb_tuned,
    "ucb1": ucb1,
    "epsilon_greedy": epsilon_greedy,
    "fixed_split": fixed_split,
    "tsallis_inf": tsallis_inf,
    "exp3": exp3,
    **{name: lambda name=name: linear(name) for name in ("linear_thompson", "lin_ucb", "square_cb")},  # type: ignore[misc]
    "auto_linear": auto_linear,
    "auto_rates": auto_rates,
    "linear_ensemble": ensemble,
    **{name: lambda name=name: logistic(name) for name in ("logistic_thompson", "logistic_ucb")},  # type: ignore[misc]
    **{  # type: ignore[misc]
        name: lambda name=name: logistic_hybrid(name) for name in ("logistic_hybrid_thompson", "logistic_hybrid_ucb")
    },
    **{name: lambda name=name: hybrid(name) for name in ("hybrid_thompson", "hybrid_ucb")},  # type: ignore[misc]
}


def test_every_algorithm_has_a_reference():
    assert REFERENCES.keys() == ALGORITHMS.keys()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_posteriors_agree_to_1e_9_and_propensities_to_1e_6(name):
    info, model = ALGORITHMS[name], model_for(name, {})
    features = FEATURES if info.learns_across_arms else ((), (), ())
    posterior = model.posterior([sums_of(one, name, z) for one, z in zip(ARMS, features, strict=True)], GRID)
    known, chances = REFERENCES[name]()
    for key, expected in known.items():
        np.testing.assert_allclose(posterior.parameters[key], expected, rtol=1e-9, atol=1e-12, err_msg=key)
    found = model.probabilities(posterior, CONTEXT if info.needs_context else None)
    np.testing.assert_allclose(found, chances, atol=1e-6)


def test_segments_that_share_borrow_what_the_moments_of_all_say():
    segments = [ARMS, [arm(9, 25), arm(10, 60), arm(11, 20)], [arm(12, 90), arm(13, 30), arm(14, 45)]]
    rows = [[sums_of(one, "hierarchical_thompson") for one in arms] for arms in segments]
    found = posteriors(model_for("hierarchical_thompson", {}), rows, GRID)
    for k in range(3):
        n, s = (np.array([f(arms[k].r) for arms in segments]) for f in (len, np.sum))
        p = s.sum() / n.sum()
        S = (n * (s / n - p) ** 2).sum()

        def excess(rho: float, n: np.ndarray = n, p: float = p, S: float = S) -> float:
            return p * (1 - p) * ((1 - rho) * 2 + rho * (n.sum() - (n**2).sum() / n.sum())) - S

        rho = optimize.brentq(excess, 0.0, 1.0, xtol=1e-15, rtol=1e-14) if excess(0.0) < 0 else 0.0
        weight = min(100.0, 1 / rho - 1) if rho > 0 else 100.0
        for g, posterior in enumerate(found):
            others_n, others_s = n.sum() - n[g], s.sum() - s[g]
            borrowed = min(weight, others_n)
            alpha = 1 + borrowed * others_s / others_n + s[g]
            beta_ = 1 + borrowed * (1 - others_s / others_n) + n[g] - s[g]
            assert posterior.parameters["alpha"][k] == pytest.approx(alpha, rel=1e-9)
            assert posterior.parameters["beta"][k] == pytest.approx(beta_, rel=1e-9)
