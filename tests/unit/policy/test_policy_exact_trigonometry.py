from __future__ import annotations

import math

import numpy as np

from pipeline.policy.exact_trigonometry import sine_cosine

TURNS = np.linspace(-0.5, 0.5, 20_001)


def test_agrees_with_the_platforms_functions_far_beyond_the_grid():
    sine, cosine = sine_cosine(TURNS)
    # The module claims 1e-13; the grid needs 2^-13 = 1.2e-4.
    assert np.abs(sine - np.sin(math.tau * TURNS)).max() < 1e-13
    assert np.abs(cosine - np.cos(math.tau * TURNS)).max() < 1e-13


def test_one_number_and_an_array_give_the_same_bits():
    sine, cosine = sine_cosine(TURNS)
    assert list(zip(sine.tolist(), cosine.tolist(), strict=True)) == [sine_cosine(turn) for turn in TURNS.tolist()]
