"""Sums → what a snapshot says of them: counts, exposures, and posteriors where their equations are short. Pure.

In exact fractions up to the last step. A regression is not solved but held against its equations:

    beta        α = α₀ + Σr                      β = β₀ + n - Σr
    gaussian    κ = κ₀ + n, m = (κ₀ m₀ + Σr) / κ, a = a₀ + n/2, b = b₀ + ½ (Σr² - (Σr)²/n + κ₀ n (Σr/n - m₀)² / κ)
    empirical   n, Σr / n, Σr² / n - (Σr / n)²
    linear      (λ I + A) θ = b                  (λ I + A) C = I
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from pipeline.independent.definition import (
    Plain,
    bucket_ms,
    is_corrected,
    is_weighted,
    milliseconds,
    prior_of,
    reward_exponent,
)
from pipeline.independent.spans import Spans

TOLERANCE = 1e-9
"""Of a published float, relative: each was derived in another order of operations."""
_STEPS = 30
"""Bits that a weight is rounded to."""
_FEATURE_BITS = 12
EMPIRICAL = frozenset({"epsilon_greedy", "ucb1", "ucb_tuned"})
LINEAR = frozenset({"linear_thompson", "lin_ucb"})
Exact = Sequence[Fraction]


class Difference(NamedTuple):
    """Where a snapshot is not what its ledger says."""

    where: str
    published: str
    recomputed: str


def is_simple(plain: Plain) -> bool:
    """Whether this file has the equations of the policy's posterior."""
    name = plain["algorithm"]["name"]
    return (
        name in {"beta_thompson", "gaussian_thompson"} | EMPIRICAL | LINEAR
        and not is_weighted(plain)
        and not is_corrected(plain)
    )


def weight_for(plain: Plain, age_ms: int) -> Fraction:
    """Return how much a decision of this age counts: 2^-(age / half-life), rounded to 30 bits; nothing beyond a window.

    >>> weight_for({"forgetting": {"half_life": "10ms", "window": "30ms"}}, 20)
    Fraction(1, 4)
    """
    forgetting = plain.get("forgetting", {})
    if "window" in forgetting and age_ms >= milliseconds(forgetting["window"]):
        return Fraction(0)
    if "half_life" not in forgetting:
        return Fraction(1)
    half_life_ms = milliseconds(forgetting["half_life"])
    whole, rest_ms = age_ms // half_life_ms, age_ms % half_life_ms
    return Fraction(round(2.0 ** (_STEPS - rest_ms / half_life_ms)), 2**_STEPS * 2**whole)


def weighed(plain: Plain, spans: Spans, dimension: int) -> dict[tuple[str, str], list[Fraction]]:
    """Return the sums of each segment and arm with data, older decisions by their weight, on top of the prior."""
    rows = {row: columns for row, columns in spans.sums.items() if not row[3] and columns[0]}
    found: dict[tuple[str, str], list[Fraction]] = {}
    for (segment, arm, bucket, _), columns in rows.items():
        weight = weight_for(plain, (spans.newest - bucket) * bucket_ms(plain))
        place = found.setdefault((segment, arm), prior_sums(plain, arm, dimension))
        for at, column in enumerate(columns):
            place[at] += weight * column
    return found


def prior_sums(plain: Plain, arm: str, dimension: int) -> list[Fraction]:
    """Return the sums of what is known of an arm beforehand, on the grid; of a context only its first entry, 1."""
    columns = [Fraction(0)] * (3 + dimension + dimension * (dimension + 1) // 2)
    known = prior_of(plain, arm)
    if known is not None:
        mean, weight, variance = known
        step = Fraction(2) ** reward_exponent(plain)
        columns[:3] = [weight, weight * mean * step, weight * (mean * mean + variance) * step * step]
        if dimension:
            columns[3] = weight * mean * step * 2**_FEATURE_BITS
            columns[3 + dimension] = weight * 4**_FEATURE_BITS
    return columns


def differences(plain: Plain, segment: Mapping[str, Any], sums: Mapping[str, Exact]) -> Iterator[Difference]:
    """Yield where a segment's parameters are not those of its arms' sums."""
    published = {one["name"]: _floats(one["data"]) for one in segment["parameters"]}
    name, parameters, step = plain["algorithm"]["name"], plain["algorithm"], Fraction(2) ** reward_exponent(plain)
    for place, arm in enumerate(segment["arms"]):
        columns = sums[arm]
        n, total, squares = columns[0], columns[1] / step, columns[2] / (step * step)
        if name in LINEAR:
            yield from _linear(segment["segment"], arm, _of_arm(published, place, segment), (plain, columns))
            continue
        if name == "beta_thompson":
            expected = _beta(parameters, n, total)
        elif name == "gaussian_thompson":
            expected = _gaussian(parameters, n, total, squares)
        else:
            expected = _empirical(n, total, squares)
        for key, value in expected.items():
            seen = published[key][place]
            if not math.isclose(seen, value, rel_tol=TOLERANCE, abs_tol=1e-12):
                yield Difference(f"segment {segment['segment']}, arm {arm}: {key}", repr(seen), repr(value))


def _beta(parameters: Plain, n: Fraction, total: Fraction) -> dict[str, float]:
    alpha, beta = Fraction(parameters["prior_alpha"]), Fraction(parameters["prior_beta"])
    return {"alpha": float(alpha + total), "beta": float(beta + n - total)}


def _gaussian(parameters: Plain, n: Fraction, total: Fraction, squares: Fraction) -> dict[str, float]:
    m_0, k_0, deviation, a_0 = (
        Fraction(parameters[name]) for name in ("prior_mean", "prior_weight", "prior_deviation", "prior_shape")
    )
    kappa, a = k_0 + n, a_0 + n / 2
    mean = total / n if n else Fraction(0)
    spread = squares - total * mean + k_0 * n * (mean - m_0) ** 2 / kappa
    b = a_0 * deviation * deviation + spread / 2
    scale = math.sqrt(b / (a * kappa))
    return {"location": float((k_0 * m_0 + total) / kappa), "scale": scale, "freedom": float(2 * a)}


def _empirical(n: Fraction, total: Fraction, squares: Fraction) -> dict[str, float]:
    if not n:
        return {"n": 0.0, "mean": 0.0, "variance": 0.0}
    mean = total / n
    return {"n": float(n), "mean": float(mean), "variance": float(squares / n - mean * mean)}


class _Regression(NamedTuple):
    theta: Sequence[float]
    covariance: Sequence[float]


def _of_arm(published: Mapping[str, Sequence[float]], place: int, segment: Mapping[str, Any]) -> _Regression:
    d = len(published["theta"]) // len(segment["arms"])
    theta = published["theta"][place * d : (place + 1) * d]
    return _Regression(theta, published["covariance"][place * d * d : (place + 1) * d * d])


def _linear(segment: str, arm: str, seen: _Regression, of: tuple[Plain, Exact]) -> Iterator[Difference]:
    """Hold θ and C against their equations, each product to a share of what it is summed of."""
    plain, columns = of
    d = len(seen.theta)
    step = Fraction(2) ** reward_exponent(plain)
    b = [float(column / (step * 2**_FEATURE_BITS)) for column in columns[3 : 3 + d]]
    triangle = iter(columns[3 + d :])
    matrix = [[0.0] * d for _ in range(d)]
    for i in range(d):
        for j in range(i, d):
            matrix[i][j] = matrix[j][i] = float(next(triangle) / 4**_FEATURE_BITS)
        matrix[i][i] += float(plain["algorithm"]["ridge"])
    for i in range(d):
        for what, column, expected in (
            ("theta", seen.theta, b[i]),
            *(("covariance", seen.covariance[j::d], float(i == j)) for j in range(d)),
        ):
            products = [one * other for one, other in zip(matrix[i], column, strict=True)]
            came, size = math.fsum(products), math.fsum(map(abs, products)) + abs(expected)
            if not abs(came - expected) <= TOLERANCE * size:
                where = f"segment {segment}, arm {arm}: {what}, equation {i}"
                yield Difference(where, repr(came), repr(expected))
                return


def _floats(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // 8}d", data)
