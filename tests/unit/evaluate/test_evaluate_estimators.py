from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.estimators import Terms, all_parts

# Four decisions of a log that drew two arms alike (p = 1/2), asked about a policy that shows the first arm with 0.8:
# weights 0.8 / 0.5 = 1.6 where the first was shown, 0.2 / 0.5 = 0.4 where the second was.
TERMS = Terms(
    reward=np.array([1.0, 0.0, 1.0, 0.0]),
    weight=np.array([1.6, 1.6, 0.4, 0.4]),
    predicted=np.array([0.5, 0.5, 0.25, 0.25]),
    value=np.full(4, 0.8 * 0.5 + 0.2 * 0.25),  # 0.45
)


def estimates(clip: float) -> dict[str, float]:
    parts = all_parts(TERMS, clip=clip, bounds=(0.0, 1.0), weight_bound=1.6)
    return {part.name: part.estimate for part in parts}


def test_each_estimator_comes_to_what_its_formula_gives_by_hand():
    assert estimates(clip=100.0) == pytest.approx(
        {
            "IPS": (1.6 + 0.4) / 4,
            "SNIPS": (1.6 + 0.4) / (1.6 + 1.6 + 0.4 + 0.4),
            "clipped IPS": (1.6 + 0.4) / 4,
            "DM": 0.45,
            # what the model missed, weighted: +0.8 and -0.8 of the first arm, +0.3 and -0.1 of the second
            "DR": 0.45 + 0.2 / 4,
            "Switch-DR": 0.45 + 0.2 / 4,
        }
    )


def test_weights_above_the_clip_are_cut_by_clipped_ips_and_left_to_the_model_by_switch_dr():
    found = estimates(clip=1.0)
    assert found["clipped IPS"] == pytest.approx((1.0 + 0.4) / 4)
    assert found["Switch-DR"] == pytest.approx(0.45 + 0.4 * (0.75 - 0.25) / 4)
    assert found["IPS"] == pytest.approx(0.5)


def test_the_standard_error_of_a_mean_is_the_textbook_one():
    ips = all_parts(TERMS, clip=9.0, bounds=(0.0, 1.0), weight_bound=1.6)[0]
    # w r = 1.6, 0, 0.4, 0: mean 0.5, squares of the rest 1.21 + 0.25 + 0.01 + 0.25 = 1.72, /3 /4
    assert ips.standard_error == pytest.approx((1.72 / 12) ** 0.5)


def test_no_part_is_further_from_another_than_the_width_that_bernstein_is_told():
    rng = np.random.default_rng(1)
    r, q, v = rng.uniform(-2.0, 3.0, (3, 5_000))
    w = rng.choice([0.0, 0.1, 7.0], 5_000)
    for part in all_parts(Terms(r, w, q, v), clip=5.0, bounds=(-2.0, 3.0), weight_bound=7.0):
        if part.width is not None:
            assert np.ptp(part.numerator) <= part.width, part.name
