from __future__ import annotations

import numpy as np
import pytest

from pipeline.analyze.association import association, holm
from pipeline.evaluate.log import Clusters


def alone(count: int) -> Clusters:
    return Clusters(np.arange(count), count, "action", count)


def test_the_smallest_p_value_counts_for_all_tests_and_the_largest_for_itself():
    assert holm([0.2, 0.01, 0.03]) == [0.2, 0.03, 0.06]
    assert holm([0.4, 0.5]) == [0.8, 0.8]  # never below one that is smaller
    assert holm([]) == []


def test_what_goes_along_is_seen_and_what_does_not_is_not():
    rng = np.random.default_rng(2)
    z, noise = rng.normal(size=(500, 1)), rng.normal(size=(500, 2))
    assert association(z, noise, alone(500), np.random.default_rng(0), 499) > 0.05
    along = noise + np.array([0.0, 0.5]) * z
    assert association(z, along, alone(500), np.random.default_rng(0), 499) == 1 / 500


def test_what_never_varies_goes_along_with_nothing():
    z = np.arange(10.0)[:, None]
    assert association(z, np.full((10, 1), 0.1), alone(10), np.random.default_rng(0)) == 1.0
    assert association(np.full((10, 1), 0.1), z, alone(10), np.random.default_rng(0)) == 1.0


def test_twenty_people_are_twenty_however_often_they_come():
    # Each person has a level of z and a taste; by action the two go along in nearly every sample of 20 people.
    rejected = {"subject": 0, "action": 0}
    rng = np.random.default_rng(3)
    for _ in range(60):
        who = np.repeat(np.arange(20), 50)
        z, taste = rng.normal(size=20)[who][:, None], rng.normal(size=20)[who]
        y = (taste + 0.3 * rng.normal(size=1_000))[:, None]
        rejected["subject"] += association(z, y, Clusters(who, 20, "subject", 0), rng, 199) <= 0.05
        rejected["action"] += association(z, y, alone(1_000), rng, 199) <= 0.05
    assert rejected["subject"] <= 8  # 3 expected; a binomial of 60 with 0.05 exceeds 8 in 3 of 1,000
    assert rejected["action"] >= 30


def test_signs_of_very_many_subjects_are_drawn_for_sums_of_them():
    count = 45_000
    z = np.random.default_rng(2).normal(size=(count, 1))
    y = np.random.default_rng(4).normal(size=(count, 1))
    assert association(z, y, alone(count), np.random.default_rng(0), 99) > 0.05
    assert association(z, y + 0.1 * z, alone(count), np.random.default_rng(0), 99) == pytest.approx(0.01)
