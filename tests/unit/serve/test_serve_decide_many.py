from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.policy.definition import PolicyDefinition
from pipeline.serve import decide, load_snapshot
from pipeline.serve.bodies import DecideBody
from pipeline.serve.decide_many import foreseeing
from pipeline.serve.snapshot import LoadedSnapshot

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


def answers(snapshot: LoadedSnapshot, requests: list[DecideBody]) -> list[object]:
    rng = np.random.default_rng(1)
    return [
        decide(snapshot, "homepage", each.context, each.eligible, rng=rng, action_id="x", now_ms=1) for each in requests
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(REQUEST, max_size=8))
def test_a_batch_is_decided_as_its_requests_are_one_by_one(
    requests: list[DecideBody], linear: PolicyDefinition, content_of: Content
) -> None:
    snapshot = load_snapshot(content_of(linear, CLICKS))
    alone = answers(snapshot, requests)
    with foreseeing(snapshot, requests):
        together = answers(snapshot, requests)
    for one, other in zip(alone, together, strict=True):
        assert type(one) is type(other)
        for name in ("arm", "reason", "probabilities"):
            expected = getattr(one, name, None)
            if name == "probabilities" and expected is not None:
                assert getattr(other, name) == pytest.approx(expected, abs=1e-7)
            else:
                assert getattr(other, name, None) == expected
    assert not snapshot.foreseen


def test_in_a_batch_the_model_is_not_asked_again(
    linear: PolicyDefinition, content_of: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = load_snapshot(content_of(linear, CLICKS))
    requests = [DecideBody({"age": age, "device": "mobile"}, None) for age in range(20)]
    requests += [DecideBody({"age": age, "device": "desktop"}, ["news", "best"]) for age in range(20)]
    expected = answers(snapshot, requests)
    with foreseeing(snapshot, requests):
        monkeypatch.setattr(type(snapshot.model), "probabilities", None)
        together = answers(snapshot, requests)
    assert [answer.arm for answer in together] == [answer.arm for answer in expected]  # type: ignore[attr-defined]


def test_without_a_snapshot_there_is_nothing_to_foresee() -> None:
    with foreseeing(None, [DecideBody(), DecideBody()]):
        pass
