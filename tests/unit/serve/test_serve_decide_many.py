from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy
from pipeline.serve import Decided, NoAnswer, decide, load_snapshot
from pipeline.serve.decision import choose
from pipeline.serve.decision.rollout import Known, Request, answer_many
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.serve.messages.bodies import DecideBody
from tests.unit.serve.conftest import BETA

CLICKS = {"news": (30, 100), "best": (40, 100), "fresh": (1, 2)}
Content = Callable[..., bytes]

CONTEXT = st.fixed_dictionaries(
    {},
    optional={
        "age": st.integers(-10, 110),
        "device": st.sampled_from(["mobile", "desktop", "fridge"]),
        "premium": st.booleans(),
    },
)
REQUEST = st.builds(
    DecideBody, CONTEXT, st.none() | st.lists(st.sampled_from(["news", "best", "fresh", "old", "zebra"]))
)


def alone(snapshot: LoadedSnapshot, requests: list[DecideBody]) -> list[Decided | NoAnswer]:
    rng = np.random.default_rng(1)
    return [
        decide(snapshot, "homepage", each.context, each.eligible, rng=rng, action_id="x", now_ms=1) for each in requests
    ]


def together(snapshot: LoadedSnapshot, requests: list[DecideBody]) -> list[Decided | NoAnswer]:
    asked = [Request("homepage", each.context, each.eligible, "x", 1) for each in requests]
    return answer_many(Known({"homepage": snapshot}), asked, np.random.default_rng(1))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(REQUEST, max_size=12))
def test_a_batch_is_decided_as_its_requests_are_one_by_one(
    requests: list[DecideBody], linear: PolicyDefinition, content_of: Content
) -> None:
    snapshot = load_snapshot(content_of(linear, CLICKS))
    for one, other in zip(alone(snapshot, requests), together(snapshot, requests), strict=True):
        if isinstance(one, NoAnswer):
            assert other == one
            continue
        assert isinstance(other, Decided)
        same = one.decision._replace(probabilities=[], propensity=0.0)
        assert other.decision._replace(probabilities=[], propensity=0.0) == same
        assert other.probabilities == pytest.approx(one.probabilities, abs=1e-7)
        assert other.propensity == other.probabilities[other.arm]
        assert (other.fallback, other.detail, other.ignored) == (one.fallback, one.detail, one.ignored)


def test_a_batch_asks_the_model_once_for_all_that_are_alike(
    linear: PolicyDefinition, content_of: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = load_snapshot(content_of(linear, CLICKS))
    requests = [DecideBody({"age": age, "device": "mobile"}, None) for age in range(20)]
    requests += [DecideBody({"age": age, "device": "desktop"}, ["news", "best"]) for age in range(20)]
    expected = alone(snapshot, requests)
    monkeypatch.setattr(type(snapshot.model), "probabilities", None)
    answered = together(snapshot, requests)
    assert [answer.arm for answer in answered] == [answer.arm for answer in expected]  # type: ignore[union-attr]


def test_one_context_that_makes_the_model_fail_fails_alone(
    linear: PolicyDefinition, content_of: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = load_snapshot(content_of(linear, CLICKS))
    ask = type(snapshot.model).probabilities

    def fail_for_the_old(model: Any, posterior: Any, context: Any) -> Any:
        if context[1] == 1.0:  # an age of 100
            raise RuntimeError("too old")
        return ask(model, posterior, context)

    def fail_for_all(*_: Any) -> Any:
        raise RuntimeError("one of them")

    monkeypatch.setattr(type(snapshot.model), "probabilities", fail_for_the_old)
    monkeypatch.setattr(choose, "probabilities_many", fail_for_all)
    answered = together(snapshot, [DecideBody({"age": age, "device": "mobile"}) for age in (20, 100, 30)])
    assert [answer.reason for answer in answered] == ["policy", "fallback", "policy"]
    assert answered[1].detail == "too old"


def test_the_second_request_of_a_subject_knows_what_the_first_was_shown(content_of: Content) -> None:
    capped = parse_policy(BETA | {"guardrails": {"frequency": {"shows": 1, "window": "1h"}}}, "test")
    known = Known({"homepage": load_snapshot(content_of(capped, CLICKS))})
    requests = [Request("homepage", {}, None, f"a{number}", 1, "ada") for number in range(3)]
    arms = [
        answer.arm for answer in answer_many(known, requests, np.random.default_rng(1)) if isinstance(answer, Decided)
    ]
    assert len(set(arms)) == 3
