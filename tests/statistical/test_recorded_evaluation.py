"""Point estimates stay what they were, to 1e-12: recorded by the code that had folds in turn, before they went by hash.

What weighs rewards alone (IPS, SNIPS) knows no folds, and is the same to the last digits. DM and DR are the same where
folds are in turn, and so differ by the folds and nothing else; by the folds that ship they are held to themselves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.demo.logged import read_log
from pipeline.evaluate.evaluate import Evaluation, Settings, evaluate, prepare
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.open_bandit import log_of, ranked_thompson
from pipeline.evaluate.production_prior import ALPHA, BETA
from pipeline.evaluate.target import Target, Uniform
from pipeline.policy.features import FeatureSchema
from tests.open_bandit import real_campaign

IN_TURN = {
    "women": {
        "IPS": 0.006804111133595626,
        "SNIPS": 0.006799738472991251,
        "clipped IPS": 0.006804111133595626,
        "DM": 0.004728482169005586,
        "DR": 0.006823099473454761,
        "Switch-DR": 0.006823099473454761,
    },
    "independent": {
        "IPS": 0.4363888888888888,
        "SNIPS": 0.42597613882863344,
        "clipped IPS": 0.4363888888888888,
        "DM": 0.4188070589314072,
        "DR": 0.41913958924360656,
        "Switch-DR": 0.41913958924360656,
    },
}
BY_HASH = {
    "women": {"DM": 0.004708544919572971, "DR": 0.00683879711110743, "Switch-DR": 0.00683879711110743},
    "independent": {"DM": 0.4186331170017123, "DR": 0.4196544473075902, "Switch-DR": 0.4196544473075902},
}
"""By blake2b of the action, with the key of `evaluate/folds.py`: that is the declared seed of the folds."""


def independent() -> DecisionLog:
    rng = np.random.default_rng(43)
    count, propensity = 2_000, np.array([0.6, 0.3, 0.1])
    arm = rng.choice(3, count, p=propensity)
    return DecisionLog(
        arms=("a", "b", "c"),
        segments=("all",),
        arm=arm,
        segment=np.zeros(count, np.int64),
        reward=(rng.random(count) < np.array([0.2, 0.4, 0.6])[arm]).astype(float),
        propensity=propensity[arm],
        contexts=[{}] * count,
        decided_at_ms=np.arange(count) * 1000,
        offer=np.zeros(count, np.int64),
        offered=np.ones((1, 3), np.bool_),
        possible=np.ones((1, 3), np.bool_),
        bounds=(0.0, 1.0),
        weight_bound_known=True,
        least_propensity=np.full(count, 0.1),
    )


def asked(name: str) -> tuple[DecisionLog, Target]:
    if name == "independent":
        return independent(), Uniform()
    log = log_of(read_log(real_campaign(f"random/{name}")))
    return log, ranked_thompson("bts", log, np.array(ALPHA, float), np.array(BETA, float))


def evaluated(log: DecisionLog, target: Target) -> Evaluation:
    return evaluate(prepare(log, FeatureSchema()), target, Settings(resamples=50), np.random.default_rng(0))


@pytest.mark.parametrize("name", ["women", "independent"])
def test_with_folds_in_turn_every_estimate_is_the_recorded_one(name):
    log, target = asked(name)
    in_turn = replace(log)
    in_turn.__dict__["folds"] = np.arange(len(log)) % 5  # where the property keeps what it has computed
    found = evaluated(in_turn, target)
    for estimator, value in IN_TURN[name].items():
        assert found.of(estimator).value == pytest.approx(value, rel=1e-12), estimator


@pytest.mark.parametrize("name", ["women", "independent"])
def test_by_the_folds_that_ship_only_what_is_predicted_across_folds_is_another(name):
    log, target = asked(name)
    found = evaluated(log, target)
    for estimator, value in (IN_TURN[name] | BY_HASH[name]).items():
        assert found.of(estimator).value == pytest.approx(value, rel=1e-12), estimator
    # By how much: a twentieth of a standard error at most.
    moved = abs(found.of("DR").value - IN_TURN[name]["DR"])
    assert moved < 0.05 * (found.of("DR").standard_error or 0.0)
