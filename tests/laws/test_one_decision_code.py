"""Law 14: a node, a simulation and an evaluation draw from the same vector when they are asked the same.

The policies differ in everything that has a say in a decision: segments, arms retired and killed, floors per arm,
segment and new arm, eligibility, holdout, control, diversity. The node is asked through `answer`, as its routes do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.learned import published
from pipeline.evaluate.log import DecisionLog
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.decision.rollout import Known, Request, answer
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.serve.messages.decided import NoAnswer
from pipeline.simulate.environment import Setting
from pipeline.simulate.learner import Learner
from pipeline.simulate.player import Choices, Moments, News

ARMS = ("a", "b", "c", "d")
share = st.floats(0.0, 0.2).map(lambda x: round(x, 3))


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
    algorithm = draw(st.sampled_from(["beta_thompson", "ucb1", "lin_ucb", "linear_thompson", "epsilon_greedy"]))
    return {
        "name": "shop",
        "arms": arms,
        "segments": {"default": "young", "rules": [{"name": "old", "when": {"age": {"at_least": 40.0}}}]},
        "context": [{"name": "age", "kind": "numeric", "low": 0.0, "high": 100.0}],
        "algorithm": {"name": algorithm},
        "reward": {"low": 0.0, "high": 1.0, "outcomes": [{"kind": "click", "worth": 1.0, "window": "1h"}]},
        "exploration": exploration,
        **({"guardrails": rails} if rails else {}),
        **({"killed": killed} if killed else {}),
    }


@settings(max_examples=60, deadline=None)
@given(plain=policies(), seed=st.integers(0, 1_000), offer=st.sets(st.sampled_from(ARMS), min_size=2))
def test_node_simulation_and_evaluation_give_the_same_vector(plain, seed, offer):
    definition = parse_policy(plain, "a policy")
    rng = np.random.default_rng(seed)
    learner = Learner("shop", definition, Setting(ARMS), np.random.default_rng(seed))
    n = 60
    past = Moments(
        np.arange(n), np.arange(n) * 1_000, [{"age": float(a)} for a in rng.integers(0, 80, n)], (0, 1, 2, 3)
    )
    learner.recall(past, Choices(rng.integers(4, size=n), np.full(n, 0.25)))
    earned = (rng.random(n) < 0.3).astype(float)
    learner.learn(News(past.places, np.ones(n, np.bool_), np.zeros(n), earned, n * 1_000))

    contexts = [{"age": float(a)} for a in (5, 17, 18, 30, 40, 75)]
    places = np.arange(n, n + len(contexts))
    at_ms = places * 1_000
    content = build_snapshot(definition.for_rewards(), sorted(learner.rows()), {}, 1, "")
    offered = sorted(offer)
    known = Known({"shop": load_snapshot(content)})
    answers = [
        answer(known, Request("shop", context, offered, str(place), int(at)), rng)
        for place, at, context in zip(places, at_ms, contexts, strict=True)
    ]
    # The evaluation is asked about the same situations, as a log has them.
    m = len(contexts)
    log = DecisionLog(
        arms=ARMS,
        segments=("all",),
        arm=np.full(m, ARMS.index(offered[0])),
        segment=np.zeros(m, np.int64),
        reward=np.zeros(m),
        propensity=np.full(m, 0.25),
        contexts=contexts,
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
    for row, (told, context) in enumerate(zip(answers, contexts, strict=True)):
        by_arm = {} if isinstance(told, NoAnswer) else told.probabilities
        expected = [by_arm.get(arm, 0.0) for arm in ARMS]
        # Asked for many contexts at once, or over posteriors derived apart, the last bits may differ.
        assert evaluated[row] == pytest.approx(expected, abs=1e-9), context
        if isinstance(told, NoAnswer):
            continue
        moment = Moments(places[row : row + 1], at_ms[row : row + 1], [context], tuple(map(ARMS.index, offered)))
        (plan,) = learner._plans(moment)
        simulated = dict(zip(plan.arms, plan.vector, strict=True))
        assert [simulated.get(arm, 0.0) for arm in ARMS] == pytest.approx(expected, abs=1e-9), context
