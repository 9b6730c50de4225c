from __future__ import annotations

import pytest

from pipeline.models.sums.forgetting import Forgetting

DAY_MS = 86_400_000


def test_by_default_nothing_is_forgotten():
    assert Forgetting().is_none
    assert Forgetting().weight_for(10**15) == 1.0


def test_a_decision_counts_half_after_a_half_life_and_a_quarter_after_two():
    assert [Forgetting(half_life_ms=7).weight_for(age_ms) for age_ms in (0, 7, 14, 7 * 40)] == [
        1.0,
        0.5,
        0.25,
        2.0**-40,
    ]


@pytest.mark.parametrize("age_ms", [1, 3 * DAY_MS, 6 * DAY_MS, 100 * DAY_MS])
def test_in_between_it_fades_evenly(age_ms):
    weight = Forgetting(half_life_ms=7 * DAY_MS).weight_for(age_ms)
    assert weight == pytest.approx(0.5 ** (age_ms / (7 * DAY_MS)), rel=1e-9)


def test_weights_have_thirty_bits_so_that_machines_agree():
    weights = [Forgetting(half_life_ms=1000).weight_for(age_ms) for age_ms in range(1000)]
    assert all(weight * 2**30 == int(weight * 2**30) for weight in weights)
    assert weights == sorted(weights, reverse=True)


def test_the_window_s_end_is_outside():
    window = Forgetting(window_ms=10)
    assert [window.weight_for(age_ms) for age_ms in (9, 10)] == [1.0, 0.0]


def test_both_together():
    both = Forgetting(half_life_ms=5, window_ms=11)
    assert [both.weight_for(age_ms) for age_ms in (5, 10, 11)] == [0.5, 0.25, 0.0]
