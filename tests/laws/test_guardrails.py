"""What every guardrail owes: a distribution comes out, floors stay, its own promise holds, what is given stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.models.chances.floor import apply_floors, fit_floors
from pipeline.serve.guardrails.budget import afford
from pipeline.serve.guardrails.cap import cap
from pipeline.serve.guardrails.diversity import spread

Floats = np.ndarray
SUM = 1e-9
ROUNDING = 1e-12

part = st.floats(0.0, 1.0)


@st.composite
def case(draw: st.DrawFn) -> tuple[Floats, Floats, Floats, Floats]:
    """Weights, floors, costs and ceilings of 1 to 12 arms; certain arms, equal arms and zeros among them."""
    count = draw(st.integers(1, 12))
    vector = st.lists(part | st.sampled_from([0.0, 1.0]), min_size=count, max_size=count).map(np.array)
    weights = draw(vector.filter(lambda v: v.sum() > 1e-6)) + 0.0
    floors = draw(vector)
    floors = fit_floors(floors * draw(part), floors)
    costs = draw(st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.5]), min_size=count, max_size=count).map(np.array))
    return weights / weights.sum(), floors, costs, np.maximum(draw(vector), floors)


def is_distribution(vector: Floats) -> bool:
    return bool((vector >= 0.0).all() and (vector <= 1.0 + ROUNDING).all() and abs(vector.sum() - 1.0) < SUM)


STEPS: dict[str, Callable[[Floats, Floats, Floats, Floats, float], Floats]] = {
    "diversity": lambda w, _floors, _costs, _ceilings, x: spread(w, 1.0 + x * (len(w) - 1)),
    "budget": lambda w, floors, costs, _ceilings, x: afford(w, floors, costs, x)[0],
    "floors": lambda w, floors, _costs, _ceilings, _x: apply_floors(w, floors),
    "cap": lambda w, _floors, _costs, ceilings, _x: cap(w, ceilings),
}


@pytest.mark.parametrize("step", STEPS)
@given(case=case(), x=part)
def test_a_distribution_stays_one(step, case, x):
    assert is_distribution(STEPS[step](*case, x))


@pytest.mark.parametrize("step", STEPS)
@given(case=case(), x=part)
def test_the_order_of_the_arms_does_not_matter(step, case, x):
    order = np.random.default_rng(len(case[0])).permutation(len(case[0]))
    moved = STEPS[step](*(vector[order] for vector in case), x)
    np.testing.assert_allclose(moved, STEPS[step](*case, x)[order], atol=1e-9)


@pytest.mark.parametrize("step", STEPS)
@given(case=case(), x=part)
def test_what_is_given_is_left_as_it_was(step, case, x):
    before = [vector.copy() for vector in case]
    STEPS[step](*case, x)
    assert all(np.array_equal(one, other) for one, other in zip(before, case, strict=True))


@given(case=case())
def test_every_arm_has_its_floor_and_the_rest_follows_the_weights(case):
    weights, floors, _, _ = case
    propensities = apply_floors(weights, floors)
    assert (propensities >= floors).all()
    np.testing.assert_allclose(propensities - floors, max(0.0, 1.0 - floors.sum()) * weights, atol=1e-12)


@given(case=case(), x=part)
def test_floors_are_raised_as_far_as_they_fit_and_never_below_the_declared(case, x):
    _, floors, _, wanted = case
    declared = x * floors
    floors = fit_floors(declared, wanted)
    assert floors.sum() <= 1.0 + ROUNDING
    assert (floors >= declared - ROUNDING).all()
    assert (floors <= np.maximum(wanted, declared) + ROUNDING).all()


@given(case=case(), x=part)
def test_at_least_so_many_arms_are_effective_and_no_arm_moves_but_towards_the_even_share(case, x):
    weights = case[0]
    count = len(weights)
    effective = 1.0 + x * (count - 1)
    mixed = spread(weights, effective)
    assert 1.0 / (mixed @ mixed) >= effective * (1.0 - 1e-9)
    even = 1.0 / count
    assert (np.abs(mixed - even) <= np.abs(weights - even) + ROUNDING).all()
    # The least change that does it: nothing changes where there is enough, and no more than enough is made.
    if weights @ weights * effective <= 1.0:
        assert mixed is weights
    else:
        assert 1.0 / (mixed @ mixed) == pytest.approx(effective, rel=1e-6)


@given(case=case(), x=part)
def test_costly_arms_keep_the_fraction_and_the_cheapest_get_the_rest(case, x):
    weights, floors, costs, _ = case
    left, floors_left = afford(weights, floors, costs, x)
    is_cheapest = costs == costs.min()
    np.testing.assert_allclose(left[~is_cheapest], x * weights[~is_cheapest], atol=1e-15)
    assert (left[is_cheapest] >= weights[is_cheapest] - ROUNDING).all()
    assert np.array_equal(floors_left, np.where(is_cheapest, floors, x * floors))


@given(case=case())
def test_no_propensity_is_above_its_ceiling_or_below_its_floor(case):
    weights, floors, _, ceilings = case
    assume(ceilings.sum() > 1.0)  # else something must be shown above its ceiling
    propensities = apply_floors(weights, floors)
    capped = cap(propensities, ceilings)
    assert (capped <= ceilings + ROUNDING).all()
    assert (capped >= np.minimum(propensities, ceilings) - ROUNDING).all()
    assert (capped >= floors - ROUNDING).all()


@given(case=case())
def test_ceilings_that_leave_nothing_to_show_are_shared_out(case):
    weights, _, _, ceilings = case
    ceilings = ceilings / (1.0 + ceilings.sum())
    assume(ceilings.sum() > 0.01)
    np.testing.assert_allclose(cap(weights, ceilings), ceilings / ceilings.sum(), atol=1e-12)


@given(case=case(), x=part)
def test_all_steps_in_their_order_keep_floors_and_ceilings(case, x):
    weights, floors, costs, ceilings = case
    weights = spread(weights, 1.0 + x * (len(weights) - 1))
    weights, floors = afford(weights, floors, costs, x)
    propensities = cap(apply_floors(weights, floors), ceilings)
    assert is_distribution(propensities)
    assert (propensities >= floors - ROUNDING).all()
    if ceilings.sum() > 1.0:
        assert (propensities <= ceilings + ROUNDING).all()
