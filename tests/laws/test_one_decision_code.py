"""Law 14: a node, a simulation and an evaluation draw from the same vector when they are asked the same.

The policies differ in everything that has a say in a decision: segments, arms retired and killed, floors per arm,
segment and new arm, eligibility, holdout, control, diversity, features of all kinds, missing and beyond their bounds, a
clock by which rules go too. The node is asked through `answer`, as its routes do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.learned import published, situations_of
from pipeline.evaluate.log import DecisionLog
from pipeline.join.admission import encode_missing
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.decision.rollout import Known, Request, answer
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.serve.messages.decided import NoAnswer
from pipeline.simulate.environment import Setting
from pipeline.simulate.learner import Learner
from pipeline.simulate.player import Choices, Moments, News

ARMS = ("a", "b", "c", "d")
HOUR_MS = 3_600_000
FEATURES: list[dict[str, Any]] = [
    {"name": "hour", "kind": "cyclic", "period": 24.0, "clock": "hour", "time_zone": "Europe/Berlin"},
    {"name": "device", "kind": "categorical", "values": ["phone", "desk"], "other": True},
    {"name": "city", "kind": "hashed", "slots": 3, "missing": "indicator"},
    {"name": "member", "kind": "boolean", "missing": "indicator"},
    {"name": "basket", "kind": "logarithmic", "low": 0.0, "high": 50.0, "unit": 5.0, "beyond": "clip"},
    {"name": "stay", "kind": "quantile", "knots": [0.0, 10.0, 100.0], "missing": "indicator"},
]
"""Beside age."""
share = st.floats(0.0, 0.2).map(lambda x: round(x, 3))


@st.composite
def contexts(draw: st.DrawFn) -> dict[str, Any]:
    features = draw(st.lists(st.sampled_from(FEATURES), unique_by=lambda one: one["name"], max_size=3))
    names = ["age", *(one["name"] for one in features)]
    rules: list[dict[str, Any]] = [{"name": "old", "when": {"age": {"at_least": 40.0}}}]
    if "hour" in names:
        rules.insert(0, {"name": "late", "when": {"hour": {"at_least": 12.0}}})
    crossed = {"interactions": [[names[0], names[-1]]]} if len(names) > 1 and draw(st.booleans()) else {}
    return {
        "segments": {"default": "young", "rules": rules},
        "context": [{"name": "age", "kind": "numeric", "low": 0.0, "high": 100.0}, *features],
        **crossed,
    }


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    arms = [{"name": arm, "retired": draw(st.booleans()) and arm == "d"} for arm in ARMS]
    rails: dict[str, Any] = {}
    if draw(st.booleans()):
        rails["eligibility"] = [{"arms": ["a"], "only_when": {"age": {"at_least": 18.0}}}]
    if draw(st.booleans()):
        rails["holdout"] = {"share": draw(st.sampled_from([0.2, 0.9]))}
    if draw(st.booleans()):
        rails["control"] = draw(st.sampled_from(["b", "c"]))
    if draw(st.booleans()):
        rails["diversity"] = draw(st.sampled_from([1.5, 2.5]))
    exploration: dict[str, Any] = {draw(st.sampled_from(["floor", "share"])): draw(share)}
    if draw(st.booleans()):
        exploration["arms"] = {"b": draw(share)}
    if draw(st.booleans()):
        exploration["segments"] = {"old": draw(share)}
    if draw(st.booleans()):
        exploration["new_arms"] = {"floor": 0.1, "until": draw(st.sampled_from([1, 30]))}
    killed: dict[str, Any] = {}
    if draw(st.booleans()):
        killed["arms"] = ["c"]
    if draw(st.integers(0, 4)) == 0:
        killed["policy"] = True
    algorithm = draw(st.sampled_from(["beta_thompson", "ucb1", "auto", "lin_ucb", "linear_thompson", "epsilon_greedy"]))
    return {
        **draw(contexts()),
        "name": "shop",
        "arms": arms,
        "algorithm": {"name": algorithm},
        "reward": {"low": 0.0, "high": 1.0, "outcomes": [{"kind": "click", "worth": 1.0, "window": "1h"}]},
        "exploration": exploration,
        **({"guardrails": rails} if rails else {}),
        **({"killed": killed} if killed else {}),
    }


def visitor(rng: np.random.Generator, age: float) -> dict[str, Any]:
    """Return a context that lacks something, says a new word, or exceeds bounds, now and then."""
    may_lack = {
        "city": f"city-{rng.integers(9)}",
        "member": bool(rng.random() < 0.5),
        "stay": float(rng.normal(50, 50)),
    }
    sent = {name: value for name, value in may_lack.items() if rng.random() < 0.7}
    return {"age": age, "device": str(rng.choice(["phone", "desk", "tv"])), "basket": float(rng.normal(20, 30)), **sent}


@settings(max_examples=60, deadline=None)
@given(
    plain=policies(),
    seed=st.integers(0, 1_000),
    offer=st.sets(st.sampled_from(ARMS), min_size=2),
    hour=st.sampled_from([3, 15]),
)
def test_node_simulation_and_evaluation_give_the_same_vector(plain, seed, offer, hour):
    definition = parse_policy(plain, "a policy")
    rng = np.random.default_rng(seed)
    learner = Learner("shop", definition, Setting(ARMS), np.random.default_rng(seed))
    n = 60
    start_ms = hour * HOUR_MS
    ages = rng.integers(0, 80, n).tolist()
    past = Moments(np.arange(n), start_ms + np.arange(n) * 1_000, [visitor(rng, float(a)) for a in ages], (0, 1, 2, 3))
    learner.recall(past, Choices(rng.integers(4, size=n), np.full(n, 0.25)))
    earned = (rng.random(n) < 0.3).astype(float)
    learner.learn(News(past.places, np.ones(n, np.bool_), np.zeros(n), earned, start_ms + n * 1_000))

    asked = [visitor(rng, float(a)) for a in (5, 17, 18, 30, 40, 75)]
    places = np.arange(n, n + len(asked))
    at_ms = start_ms + places * 1_000
    content = build_snapshot(definition.for_rewards(), sorted(learner.rows()), {}, 1, "")
    offered = sorted(offer)
    known = Known({"shop": load_snapshot(content)})
    answers = [
        answer(known, Request("shop", context, offered, str(place), int(at)), rng)
        for place, at, context in zip(places, at_ms, asked, strict=True)
    ]
    # The evaluation is asked about the same situations, as a log has them.
    m = len(asked)
    log = DecisionLog(
        arms=ARMS,
        segments=("all",),
        arm=np.full(m, ARMS.index(offered[0])),
        segment=np.zeros(m, np.int64),
        reward=np.zeros(m),
        propensity=np.full(m, 0.25),
        contexts=asked,
        decided_at_ms=at_ms,
        offer=np.zeros(m, np.int64),
        offered=np.array([[arm in offer for arm in ARMS]]),
        possible=np.array([[arm in offer for arm in ARMS]]),
        bounds=(0.0, 1.0),
        weight_bound_known=True,
        least_propensity=np.full(m, 0.25),
        actions=[str(place) for place in places],
    )
    evaluated = published("shop@1", content, log).propensities(log, slice(0, m))
    understood = situations_of(definition, log)
    for row, (told, context) in enumerate(zip(answers, asked, strict=True)):
        by_arm = {} if isinstance(told, NoAnswer) else told.probabilities
        expected = [by_arm.get(arm, 0.0) for arm in ARMS]
        # Asked for many contexts at once, or over posteriors derived apart, the last bits may differ.
        assert evaluated[row] == pytest.approx(expected, abs=1e-9), context
        if isinstance(told, NoAnswer):
            continue
        moment = Moments(places[row : row + 1], at_ms[row : row + 1], [context], tuple(map(ARMS.index, offered)))
        # What is learned from is what the node decided by: its segment and vector, where only the raw context is known.
        decision = told.decision
        raw = decision._replace(context=context, context_vector=b"")
        (code,) = learner._segment_codes(moment)
        assert decision.segment == understood.segments[row] == list(learner._segments)[code], context
        vectors = understood.vectors[row], learner._encode(moment)[0]
        assert {vector.tobytes() for vector in vectors} == {decision.context_vector}, context
        assert encode_missing([(raw, definition)]) == [decision.context_vector], context
        (plan,) = learner._plans(moment)
        simulated = dict(zip(plan.arms, plan.vector, strict=True))
        assert [simulated.get(arm, 0.0) for arm in ARMS] == pytest.approx(expected, abs=1e-9), context
