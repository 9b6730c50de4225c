from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from msgspec import UNSET

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.features import INTERCEPT, decode
from pipeline.serve import Decided, LoadedSnapshot, decide, load_snapshot
from pipeline.serve.decision.explain import explain

SOUND = {"age": 30, "device": "mobile"}
CLICKS = {"news": (30, 100), "best": (40, 100), "fresh": (1, 2)}
Content = Callable[..., bytes]


def decided(snapshot: LoadedSnapshot | None, context: dict[str, object], eligible: list[str] | None = None) -> Decided:
    answer = decide(snapshot, "homepage", context, eligible, rng=np.random.default_rng(1), action_id="x", now_ms=1_000)
    assert isinstance(answer, Decided)
    return answer


def test_without_features_each_arm_has_its_posterior_and_its_probability(
    beta: PolicyDefinition, content_of: Content
) -> None:
    snapshot = load_snapshot(content_of(beta, CLICKS))
    answer = decided(snapshot, {})
    explained = explain(answer, snapshot)
    assert (explained.policy, explained.segment, explained.snapshot_version, explained.floor) == (
        "homepage",
        "other",
        7,
        0.05,
    )
    assert (explained.action_id, explained.arm, explained.propensity) == ("x", answer.arm, answer.propensity)
    arms = {arm.arm: arm for arm in explained.arms}
    assert {name: arm.probability for name, arm in arms.items()} == answer.probabilities
    # 40 clicks and 60 views without, and one of each by the prior: 41 / 102.
    assert arms["best"].mean == pytest.approx(41 / 102)
    assert arms["best"].low is not None
    assert arms["best"].high is not None
    assert arms["best"].low < 41 / 102 < arms["best"].high
    assert arms["best"].features == []
    probabilities = [arm.probability for arm in explained.arms]
    assert probabilities == sorted(probabilities, reverse=True)
    assert explained.detail is UNSET


def test_the_effects_of_a_linear_model_sum_to_the_mean(linear: PolicyDefinition, content_of: Content) -> None:
    snapshot = load_snapshot(content_of(linear, CLICKS))
    explained = explain(decided(snapshot, SOUND), snapshot)
    segment = snapshot.segments["other"]
    x = decode(linear.features.encode(SOUND))
    for arm in explained.arms:
        theta = segment.posterior.parameters["theta"][segment.index[arm.arm]]
        effects = {effect.feature: effect.effect for effect in arm.features}
        # x is (1, age on the grid, mobile 1, desktop 0): the device's part is θ of its two entries together.
        assert effects[INTERCEPT] == pytest.approx(theta[0])
        assert effects["age"] == pytest.approx(theta[1] * x[1])
        assert effects["device"] == pytest.approx(theta[2:] @ x[2:])
        assert sum(effects.values()) == pytest.approx(arm.mean)
        sizes = [abs(effect.effect) for effect in arm.features]
        assert sizes == sorted(sizes, reverse=True)


def test_a_fallback_is_explained_by_what_kept_the_policy_from_deciding(
    linear: PolicyDefinition, content_of: Content
) -> None:
    snapshot = load_snapshot(content_of(linear, CLICKS))
    explained = explain(decided(snapshot, {"age": 30}), snapshot)
    assert (explained.reason, explained.fallback) == ("fallback", "unencodable-context")
    assert explained.detail == "missing-feature: device is not in the context"
    assert {arm.mean for arm in explained.arms} == {None}
    assert {arm.probability for arm in explained.arms} == {1 / 3}


def test_without_its_snapshot_a_decision_keeps_its_probabilities(beta: PolicyDefinition, content_of: Content) -> None:
    answer = decided(load_snapshot(content_of(beta, CLICKS)), {})
    explained = explain(answer, None)
    assert {arm.arm: arm.probability for arm in explained.arms} == answer.probabilities
    assert {arm.mean for arm in explained.arms} == {None}
    assert explained.detail == ("snapshot 7 is no longer held here: see `pipeline snapshot show --version 7`")


def test_arms_that_no_snapshot_knows_have_no_posterior(beta: PolicyDefinition, content_of: Content) -> None:
    snapshot = load_snapshot(content_of(beta, CLICKS))
    for known, answer in ((snapshot, decided(snapshot, {}, ["zebra"])), (None, decided(None, {}, ["zebra"]))):
        (arm,) = explain(answer, known).arms
        assert (arm.arm, arm.probability, arm.mean) == ("zebra", 1.0, None)
