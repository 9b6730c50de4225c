"""What every algorithm must obey; a new one is under these laws as soon as it stands in ALGORITHMS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import cycle
from operator import add
from typing import Any, Self

import numpy as np
import pytest

from pipeline.models import ALGORITHMS, model_for
from pipeline.models.chances.floor import apply_floor
from pipeline.models.grid import FEATURE_BITS, Grid, features_from_grid
from pipeline.models.model import Model, Posterior, Sums
from pipeline.models.sums.contexts import CONTEXT_ROW, ContextSums, context_name, weigh_contexts
from pipeline.models.sums.forgetting import Forgetting
from pipeline.models.sums.groups import GROUP_ROW, GROUPS, GroupSums, group_name, weigh_groups
from pipeline.models.sums.importance import ImportanceSums, entries, weigh_importance
from pipeline.models.sums.objectives import Weights
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.models.sums.weighted import ArmPrior, weigh

ARMS = 7
GRID = Grid(15)
ONE = 2**15


# Defaults, but for a test that is to be over within the few decisions of a law.
PARAMETERS = {"fixed_split": {"decisions": 300}}


@pytest.fixture(params=ALGORITHMS)
def model(request) -> Model:
    return model_for(request.param, PARAMETERS.get(request.param, {}))


@pytest.fixture
def dimension(model) -> int:
    return 5 if ALGORITHMS[model.name].needs_context else 0


class Interned:
    """Exact sums of an arm, and rows of tallies that add up as they do."""

    whole: Statistics
    rows: Mapping[str, Statistics]

    @classmethod
    def of(cls, whole: Statistics, rows: Mapping[str, Statistics]) -> Self:
        raise NotImplementedError

    def __add__(self, other: Self) -> Self:
        return self.of(self.whole + other.whole, merged(self.rows, other.rows, 1))

    def __sub__(self, other: Self) -> Self:
        return self.of(self.whole - other.whole, merged(self.rows, other.rows, -1))

    def to_bytes(self) -> bytes:
        return self.whole.to_bytes() + b"".join(row.to_bytes() for _, row in sorted(self.rows.items()))


@dataclass(frozen=True, eq=False)
class Told(Interned, ContextSums, GroupSums):
    """An arm with a context, whose decisions are told apart by it, and by group."""

    whole: Statistics
    rows: Mapping[str, Statistics]

    @classmethod
    def of(cls, whole: Statistics, rows: Mapping[str, Statistics]) -> Told:
        return cls(*told_apart(((1.0, 1.0, *row) for row in rows.items()), whole, whole.dimension, None), whole, rows)


@dataclass(frozen=True, eq=False)
class Drawn(Interned, ImportanceSums):
    """An arm without context, whose decisions count by their propensity too."""

    whole: Statistics
    rows: Mapping[str, Statistics]

    @classmethod
    def of(cls, whole: Statistics, rows: Mapping[str, Statistics]) -> Drawn:
        known = weigh_importance(((1.0, 1.0, row) for row in rows.values()), whole, AS_REWARDS)
        return cls(known.sums, known.drawn, known.earned, whole, rows)


def told_apart(
    rows: Iterable[tuple[float, float, str, Statistics]], sums: Sums, dimension: int, prior: ArmPrior | None
) -> tuple[Any, ...]:
    """Give what PUBLISH makes of rows by context, and by group."""
    rows = list(rows)
    by_name = [[row for row in rows if row[2].startswith(name)] for name in (CONTEXT_ROW, GROUP_ROW)]
    by_context = weigh_contexts(by_name[0], sums, dimension, FEATURE_BITS, GRID.reward_exponent, prior)
    by_group = weigh_groups(by_name[1], sums, dimension, GRID.reward_exponent, prior)
    told = by_context.contexts, by_context.counts, by_context.rewards
    return sums, by_group.groups, by_group.before, *told


@dataclass(frozen=True, eq=False)
class Faded(ContextSums, GroupSums):
    """What is known of an arm with a context, weighed."""


AS_REWARDS = Weights((1,), 0)
PROPENSITIES = 1.0, 0.5, 0.37, 1 / ARMS
"""By which the decisions of an arm were drawn, in turn."""

Known = Told | Drawn
"""A model that has no use for what is told apart sees the sums in it."""


def merged(ours: Mapping[str, Statistics], theirs: Mapping[str, Statistics], sign: int) -> dict[str, Statistics]:
    rows = dict(ours)
    for name, row in theirs.items():
        rows[name] = rows.get(name, Statistics.zero(row.dimension)) + Statistics(row.dimension, sign * row.sums)
    return rows


def known_of(X: np.ndarray, rewards: Any, times: int = 1) -> Known:
    """Give the sums of decisions, each as often as `times`."""
    dimension = X.shape[1]
    whole = Statistics(dimension, contributions(X, rewards) * times)
    rows: dict[str, Statistics] = {}
    told = zip(X.tolist(), np.asarray(rewards).tolist(), cycle(PROPENSITIES), strict=False)
    for x, reward, p in told:
        name, counts = (context_name(x), [1, reward]) if dimension else ("importance", entries(p, [reward]))
        rows = merged(rows, {name: Statistics(-2, np.array(counts) * times)}, 1)
    if dimension:
        groups = np.resize(np.random.default_rng(len(X)).permutation(GROUPS), len(X))
        for group in sorted(set(groups.tolist())):
            mine = groups == group
            sums = contributions(X[mine], np.asarray(rewards)[mine]) * times
            rows = merged(rows, {group_name(group): Statistics(dimension, sums)}, 1)
    return (Told if dimension else Drawn).of(whole, rows)


def as_often(arm: Known, times: int) -> Known:
    """Give decisions like these, so many times as many: each in another group, so that they are in all groups alike."""
    assert times % GROUPS == 0
    whole = Statistics(arm.whole.dimension, arm.whole.sums * times)
    rows = {
        name: Statistics(row.dimension, row.sums * times)
        for name, row in arm.rows.items()
        if not name.startswith(GROUP_ROW)
    }
    if arm.whole.dimension:
        part = Statistics(arm.whole.dimension, arm.whole.sums * (times // GROUPS))
        rows |= {group_name(group): part for group in range(GROUPS)}
    return arm.of(whole, rows)


def weighed(parts: Iterable[tuple[float, Known]], dimension: int, prior: ArmPrior | None = None) -> Sums:
    """Weigh buckets as PUBLISH does."""
    parts = list(parts)
    sums = weigh([(weight, part.whole) for weight, part in parts], dimension, GRID.reward_exponent, prior)
    if not dimension:
        drawn = ((weight, 1.0, row) for weight, part in parts for row in part.rows.values())
        return weigh_importance(drawn, sums, AS_REWARDS, prior, GRID.reward_exponent)
    rows = ((weight, 1.0, *row) for weight, part in parts for row in part.rows.items())
    return Faded(*told_apart(rows, sums, dimension, prior))


def nothing(dimension: int) -> Known:
    return known_of(np.zeros((0, dimension), np.int16), [])


def decisions(rng: np.random.Generator, dimension: int, m: int = 30) -> Known:
    X = rng.integers(-(2**12), 2**12 + 1, (m, dimension)).astype(np.int16)
    return known_of(X, rng.integers(0, 2, m) * ONE)


def parts_of_each_arm(dimension: int, parts: int = 1, seed: int = 11) -> list[list[Known]]:
    rng = np.random.default_rng(seed)
    return [[decisions(rng, dimension, 5 + 20 * k) for _ in range(parts)] for k in range(ARMS)]


def arms(dimension: int) -> list[Known]:
    return [part for (part,) in parts_of_each_arm(dimension)]


def contexts(dimension: int) -> list[np.ndarray | None]:
    if dimension == 0:
        return [None]
    integers = np.random.default_rng(12).integers(-(2**12), 2**12 + 1, (20, dimension)).astype(np.int16)
    return [*features_from_grid(integers), np.zeros(dimension)]


def same(one: Posterior, other: Posterior) -> bool:
    return one.to_bytes() == other.to_bytes()


def test_partial_statistics_merge_to_the_same_bytes_in_any_order(model, dimension):
    by_arm = parts_of_each_arm(dimension, parts=6)
    forward = model.posterior([reduce(add, parts) for parts in by_arm], GRID)
    rng = np.random.default_rng(13)
    shuffled = [reduce(add, [parts[i] for i in rng.permutation(len(parts))]) for parts in by_arm]
    pairwise = [(p[0] + p[3]) + ((p[5] + p[1]) + (p[2] + p[4])) for p in by_arm]
    assert same(model.posterior(shuffled, GRID), forward)
    assert same(model.posterior(pairwise, GRID), forward)


def test_what_was_added_can_be_taken_back_to_the_byte(model, dimension):
    before = arms(dimension)
    regretted = decisions(np.random.default_rng(14), dimension, 1000)
    after = [arm + regretted for arm in before]
    assert not same(model.posterior(after, GRID), model.posterior(before, GRID))
    assert same(model.posterior([arm - regretted for arm in after], GRID), model.posterior(before, GRID))


def test_probabilities_sum_to_one(model, dimension):
    posterior = model.posterior(arms(dimension), GRID)
    for context in contexts(dimension):
        weights = model.probabilities(posterior, context)
        assert weights.shape == (ARMS,)
        assert weights.dtype == np.float64
        assert (weights >= 0).all()
        assert abs(weights.sum() - 1) < 1e-14


@pytest.mark.parametrize("floor", [0.0, 0.01, 1 / ARMS])
def test_propensities_keep_the_floor_and_sum_to_one(model, dimension, floor):
    posterior = model.posterior(arms(dimension), GRID)
    for context in contexts(dimension):
        propensities = apply_floor(model.probabilities(posterior, context), floor)
        assert (propensities >= floor).all()
        assert abs(propensities.sum() - 1) < 1e-14


def test_arms_nobody_has_tried_are_chosen_alike(model, dimension):
    untried = model.posterior([nothing(dimension)] * ARMS, GRID)
    for context in contexts(dimension):
        np.testing.assert_allclose(model.probabilities(untried, context), 1 / ARMS, atol=1e-9)


def test_a_single_arm_is_certain(model, dimension):
    posterior = model.posterior(arms(dimension)[:1], GRID)
    for context in contexts(dimension):
        assert model.probabilities(posterior, context).tolist() == [1.0]


def test_the_order_of_the_arms_does_not_matter(model, dimension):
    posterior = model.posterior(arms(dimension), GRID)
    order = np.random.default_rng(15).permutation(ARMS)
    for context in contexts(dimension):
        weights = model.probabilities(posterior, context)
        np.testing.assert_allclose(model.probabilities(posterior.take(order), context), weights[order], atol=1e-9)


def test_the_same_inputs_give_the_same_bytes(model, dimension):
    first, second = (model.posterior(arms(dimension), GRID) for _ in range(2))
    assert same(first, second)
    for context in contexts(dimension):
        assert model.probabilities(first, context).tobytes() == model.probabilities(second, context).tobytes()
        for one, other in zip(model.estimates(first, context), model.estimates(second, context), strict=True):
            assert one.tobytes() == other.tobytes()


def test_inputs_are_left_as_they_were(model, dimension):
    statistics = arms(dimension)
    raw = [arm.to_bytes() for arm in statistics]
    posterior = model.posterior(statistics, GRID)
    arrays = posterior.to_bytes()
    for context in contexts(dimension):
        before = None if context is None else context.copy()
        model.probabilities(posterior, context)
        model.estimates(posterior, context)
        assert context is before or np.array_equal(context, before)
    assert [arm.to_bytes() for arm in statistics] == raw
    assert posterior.to_bytes() == arrays


def test_a_posterior_comes_back_from_its_bytes(model, dimension):
    posterior = model.posterior(arms(dimension), GRID)
    again = Posterior.from_bytes(posterior.to_bytes())
    assert same(again, posterior)
    for context in contexts(dimension):
        assert np.array_equal(model.probabilities(again, context), model.probabilities(posterior, context))


@pytest.mark.parametrize("indices", [[0], [6, 2], [1, 3, 5], list(range(ARMS))])
def test_some_arms_of_a_posterior_are_the_posterior_of_those_arms(model, dimension, indices):
    statistics = arms(dimension)
    if ALGORITHMS[model.name].learns_across_arms or ALGORITHMS[model.name].pools:
        # The others have taught it something: an arm's estimate stays what it was, not what it would have been.
        whole = model.posterior(statistics, GRID)
        for context in contexts(dimension):
            for some, all_arms in zip(
                model.estimates(whole.take(indices), context), model.estimates(whole, context), strict=True
            ):
                np.testing.assert_allclose(some, all_arms[indices], rtol=1e-9)
        return
    taken = model.posterior(statistics, GRID).take(indices)
    assert same(taken, model.posterior([statistics[i] for i in indices], GRID))


def test_an_estimate_lies_within_its_interval_which_narrows_with_evidence(model, dimension):
    few = arms(dimension)
    many = [as_often(arm, 96) for arm in few]
    for context in contexts(dimension):
        before, after = (model.estimates(model.posterior(known, GRID), context) for known in (few, many))
        for mean, low, high in (before, after):
            assert (low <= mean).all()
            assert (mean <= high).all()
        # A ridge that is measured may fall as more is known, and a regression of five on five then knows less.
        if model.name != "auto_linear":
            assert (after.high - after.low <= before.high - before.low).all()


def test_an_arm_with_better_rewards_is_preferred(model, dimension):
    X = np.full((200, dimension), 2**12, np.int16)
    rows = [known_of(X, np.repeat([0, ONE], split)) for split in ([180, 20], [20, 180])]
    context = np.ones(dimension) if dimension else None
    weights = model.probabilities(model.posterior(rows, GRID), context)
    # All but certain; ε-greedy gives any arm ε/K = 0.1/2 for ever, EXP3 γ/K, which is 0.02 here and falls.
    assert weights[1] > {"epsilon_greedy": 0.94, "exp3": 0.97}.get(model.name, 0.99)


FADING = Forgetting(half_life_ms=10, window_ms=40)
BUCKETS = 6  # ages 0, 10 .. 50 ms: weights 1, 1/2, 1/4, 1/8, 0, 0


def forgotten(buckets: Sequence[Known], dimension: int, forgetting: Forgetting, prior: ArmPrior | None) -> Sums:
    weights = [forgetting.weight_for(10 * (BUCKETS - 1 - number)) for number in range(BUCKETS)]
    return weighed(zip(weights, buckets, strict=True), dimension, prior)


@pytest.mark.parametrize("prior", [None, ArmPrior(0.5, 10.0, 0.25)])
def test_forgetting_commutes_with_partitioning(model, dimension, prior):
    # Two partitions hold parts of every bucket; what is merged is the same bytes as where one holds all.
    left, right = (parts_of_each_arm(dimension, BUCKETS, seed) for seed in (21, 22))
    whole = [[a + b for a, b in zip(*arm, strict=True)] for arm in zip(left, right, strict=True)]
    swapped = [[b + a for a, b in zip(*arm, strict=True)] for arm in zip(left, right, strict=True)]
    one, other = (
        model.posterior([forgotten(arm, dimension, FADING, prior) for arm in merged], GRID)
        for merged in (whole, swapped)
    )
    assert same(one, other)


def test_forgetting_nothing_is_the_exact_sum(model, dimension):
    by_arm = parts_of_each_arm(dimension, BUCKETS)
    plain = model.posterior([reduce(add, buckets) for buckets in by_arm], GRID)
    never = Forgetting(window_ms=10 * BUCKETS)
    assert same(model.posterior([forgotten(arm, dimension, never, None) for arm in by_arm], GRID), plain)


def test_what_lies_outside_the_window_leaves_no_trace(model, dimension):
    by_arm = parts_of_each_arm(dimension, BUCKETS)
    last = Forgetting(window_ms=10)
    kept = model.posterior([arm[-1] for arm in by_arm], GRID)
    assert same(model.posterior([forgotten(arm, dimension, last, None) for arm in by_arm], GRID), kept)


@pytest.mark.parametrize("prior", [None, ArmPrior(0.5, 10.0, 0.25)])
def test_faded_sums_make_a_posterior_like_others(model, dimension, prior):
    by_arm = parts_of_each_arm(dimension, BUCKETS)
    faded = model.posterior([forgotten(arm, dimension, FADING, prior) for arm in by_arm], GRID)
    for context in contexts(dimension):
        weights = model.probabilities(faded, context)
        assert (weights >= 0).all()
        assert abs(weights.sum() - 1) < 1e-14
        for estimate in model.estimates(faded, context):
            assert np.isfinite(estimate).all()


def test_rewards_all_at_a_bound_fade_without_leaving_it(model, dimension):
    # Only successes, only failures: rounded sums must not make a negative count of the others.
    X = np.full((97, dimension), 2**12, np.int16)
    third = Forgetting(half_life_ms=7)
    for reward in (0, ONE):
        buckets = [known_of(X, np.full(97, reward))] * BUCKETS
        posterior = model.posterior([forgotten(buckets, dimension, third, ArmPrior(reward / ONE, 0.1, 0.0))], GRID)
        for context in contexts(dimension):
            assert model.probabilities(posterior, context).tolist() == [1.0]


LARGEST = 2**33 - 1  # decisions that a row may hold


def extremes(dimension: int) -> dict[str, list[Sums]]:
    """Give rows as far from ordinary as the grid and forgetting allow."""

    def row(n: int, reward: int) -> Known:
        # n decisions with x = 1 in every entry, and one reward for all.
        return known_of(np.full((1, dimension), 2**12, np.int16), [reward], n)

    faded = weighed([(2.0**-300, row(1000, ONE)), (2.0**-300, row(1000, 0))], dimension)
    return {
        "all fail": [row(10**6, 0)] * 2 + [row(1, 0)],
        "all succeed": [row(10**6, ONE)] * 2 + [row(1, ONE)],
        "as many as a row holds": [row(LARGEST, ONE), row(LARGEST, 0), row(0, 0)],
        "almost equal": [row(LARGEST, ONE) + row(0, 0), row(LARGEST - 1, ONE) + row(1, 0), row(LARGEST, ONE)],
        "one against all": [row(LARGEST, 1), row(1, ONE), row(2, ONE)],
        "all but forgotten": [faded, faded, row(0, 0)],
        "forgotten beside fresh": [faded, row(5, 0), row(10**9, ONE)],
    }


@pytest.mark.parametrize("case", extremes(0))
def test_sums_far_from_ordinary_make_chances_and_estimates_all_the_same(model, dimension, case):
    posterior = model.posterior(extremes(dimension)[case], GRID)
    for array in posterior.arrays().values():
        assert np.isfinite(array).all()
    for context in contexts(dimension):
        weights = model.probabilities(posterior, context)
        assert (weights >= 0).all()
        assert abs(weights.sum() - 1) < 1e-12
        mean, low, high = model.estimates(posterior, context)
        assert np.isfinite([mean, low, high]).all()
        assert (low <= mean).all()
        assert (mean <= high).all()
