from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.support import measure_support, warnings_of

N = 1_000


def words(weight: np.ndarray, reward: np.ndarray | None = None, unsupported: float = 0.0) -> str:
    reward = np.ones(len(weight)) if reward is None else reward
    return " / ".join(warnings_of(measure_support(weight, reward, unsupported), weight))


def test_even_weights_are_worth_as_many_decisions_as_there_are_and_nothing_is_said():
    weight = np.ones(N)
    assert measure_support(weight, weight, 0.0).effective == pytest.approx(N)
    assert words(weight) == ""


def test_weight_on_a_tenth_of_the_decisions_is_worth_a_tenth_of_them():
    weight = np.where(np.arange(N) % 10 == 0, 10.0, 0.0)
    support = measure_support(weight, np.ones(N), 0.0)
    # (Σw)² / Σw² = 1000² / (100 · 100)
    assert support.effective == pytest.approx(100.0)
    assert support.rewarded == 100


def test_what_the_log_cannot_say_is_said():
    alone = np.zeros(N)
    alone[0] = 1_000.0
    assert "one decision carries 100% of all weight" in words(alone)
    assert "the log is worth 1 decisions" in words(alone)
    assert "only 1 rewarded" in words(alone)
    assert "never showed there" in words(np.full(N, 0.5), unsupported=0.5)


def test_weights_whose_mean_is_not_one_show_false_propensities():
    rng = np.random.default_rng(7)
    weight = rng.choice([0.5, 1.5], N)
    assert "not those that the arms" not in words(weight)
    # Twice as likely as logged: all weights double.
    assert "not those that the arms" in words(2.0 * weight)
    # Half of the target's decisions could never be logged: a mean of a half is what that gives.
    assert "not those that the arms" not in words(0.5 * weight, unsupported=0.5)
