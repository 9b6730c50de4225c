from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.policy.guardrails import Switches
from pipeline.policy.parsing.parse import parse_policy
from pipeline.serve import Decided, LoadedSnapshot, NoAnswer, load_snapshot
from pipeline.serve.decision.rollout import Known, Request, answer
from tests.unit.serve.conftest import BETA

Plain = dict[str, Any]
CLICKS = {"news": (30, 100), "best": (40, 100), "fresh": (1, 2)}
SUBJECTS = 1_000


@pytest.fixture
def of(content_of: Callable[..., bytes]) -> Callable[..., LoadedSnapshot]:
    def build(name: str = "homepage", **sections: Any) -> LoadedSnapshot:
        return load_snapshot(content_of(parse_policy(BETA | {"name": name} | sections, "test"), CLICKS))

    return build


def knowing(*snapshots: LoadedSnapshot, **others: Any) -> Known:
    return Known({snapshot.policy: snapshot for snapshot in snapshots}, **others)


def asked(known: Known, subject: str | None = "s0", **others: Any) -> Decided:
    request = Request(
        **{"policy": "homepage", "context": {}, "eligible": None, "action_id": "a1", "now_ms": 5_000, **others},
        subject_hash=subject,
    )
    answered = answer(known, request, np.random.default_rng(1))
    assert isinstance(answered, Decided)
    return answered


def served_by(known: Known) -> dict[str, str]:
    return {f"s{i}": asked(known, f"s{i}").decision.policy for i in range(SUBJECTS)}


def rollout(share: float, **others: Any) -> Plain:
    return {"of": "homepage", "share": share, **others}


def test_a_share_of_subjects_is_decided_for_by_the_follower_and_stays_so_as_the_share_grows(of):
    before: set[str] = set()
    for share in (0.05, 0.2, 0.5, 1.0):
        policies = served_by(knowing(of(), of("next", rollout=rollout(share))))
        now = {subject for subject, policy in policies.items() if policy == "next"}
        assert before <= now
        # Five standard errors: 5 · sqrt(0.25 / 1000) = 0.08.
        assert len(now) / SUBJECTS == pytest.approx(share, abs=0.08)
        before = now
    assert len(before) == SUBJECTS


def test_a_decision_says_who_made_it_and_for_whom(of):
    decision = asked(knowing(of(), of("next", rollout=rollout(1.0)))).decision
    assert (decision.policy, decision.guardrails) == ("next", ("rollout:homepage",))
    assert asked(knowing(of(), of("next", rollout=rollout(0.0)))).decision.policy == "homepage"
    assert asked(knowing(of(), of("next", rollout=rollout(1.0) | {"of": "search"}))).decision.policy == "homepage"


def test_without_a_subject_the_action_is_assigned(of):
    known = knowing(of(), of("next", rollout=rollout(0.5)))
    policies = [asked(known, None, action_id=f"a{i}").decision.policy for i in range(SUBJECTS)]
    assert policies.count("next") / SUBJECTS == pytest.approx(0.5, abs=0.08)


def test_a_policy_in_the_shadow_decides_and_is_not_shown(of):
    known = knowing(of(), of("next", rollout=rollout(1.0, mode="shadow")))
    decided = asked(known)
    assert decided.decision.policy == "homepage"
    (shadow,) = decided.shadows
    assert (shadow.policy, shadow.action_id, shadow.guardrails) == ("next", "a1", ("shadow:homepage",))
    assert sum(shadow.probabilities) == pytest.approx(1.0)
    alone = asked(knowing(of()))
    assert (alone.arm, alone.probabilities) == (decided.arm, decided.probabilities)


def test_an_apprentice_learns_from_what_is_shown_by_the_propensities_that_it_was_drawn_with(of):
    # The apprentice itself has seen fresh win; the policy that is asked shows best.
    known = knowing(of(), of("next", rollout=rollout(0.5, mode="apprentice"), algorithm={"name": "ucb1"}))
    alone = knowing(of())
    logged = {"homepage": 0, "next": 0}
    for number in range(200):
        decided, shown = asked(known, f"s{number}"), asked(alone, f"s{number}")
        decision = decided.decision
        logged[decision.policy] += 1
        assert (decision.arm, decision.propensity) == (shown.arm, shown.decision.propensity)
        assert decision.probabilities == shown.decision.probabilities
        if decision.policy == "next":
            assert decision.guardrails == ("apprentice:homepage",)
            assert decision.snapshot_id == known.snapshots["next"].id
            assert decision.reason == "policy"
    # Five standard errors: 5 · sqrt(0.25 · 200) = 35.
    assert abs(logged["next"] - 100) < 35


def test_an_apprentice_that_can_not_learn_from_a_decision_leaves_it_to_the_policy(of):
    lesson = {"rollout": rollout(1.0, mode="apprentice")}
    wider = of(arms=[*BETA["arms"], {"name": "extra"}])
    assert asked(knowing(wider, of("next", **lesson))).decision.policy == "homepage"
    killed = of("next", **lesson, killed={"policy": True})
    assert asked(knowing(of(), killed)).decision.policy == "homepage"
    of_age = of("next", **lesson, context=[{"name": "age", "kind": "numeric", "low": 0, "high": 100}])
    assert asked(knowing(of(), of_age), context={"age": "old"}).decision.policy == "homepage"
    assert asked(knowing(of(), of("next", **lesson))).decision.policy == "next"


def test_what_an_apprentice_is_shown_is_remembered_as_the_policy_s(of):
    often = {"guardrails": {"frequency": {"shows": 1, "window": "1h"}}}
    known = knowing(of(**often), of("next", rollout=rollout(1.0, mode="apprentice")))
    shown = [asked(known).arm for _ in range(3)]
    assert len(set(shown)) == 3  # each of three arms once


def test_whom_the_policy_holds_out_it_keeps(of):
    held = {"guardrails": {"holdout": {"share": 0.3}, "control": "news"}}
    known = knowing(of(**held), of("next", rollout=rollout(1.0)), of("shade", rollout=rollout(1.0, mode="shadow")))
    answers = [asked(known, f"s{i}") for i in range(SUBJECTS)]
    kept = [one for one in answers if one.decision.policy == "homepage"]
    assert len(kept) / SUBJECTS == pytest.approx(0.3, abs=0.08)
    assert all(one.reason == "holdout" and not one.shadows for one in kept)
    assert all(len(one.shadows) == 1 for one in answers if one not in kept)


def test_a_follower_that_is_killed_or_has_no_arm_for_the_caller_leaves_it_to_the_policy(of):
    following = {"rollout": rollout(1.0)}
    assert asked(knowing(of(), of("next", **following, killed={"policy": True}))).decision.policy == "homepage"
    switched = knowing(of(), of("next", **following), switches={"next": Switches(is_killed=True)})
    assert asked(switched).decision.policy == "homepage"
    other_arms = of("next", **following, arms=[*BETA["arms"], {"name": "extra"}])
    known = knowing(of(arms=[*BETA["arms"], {"name": "mine"}]), other_arms)
    decided = asked(known, eligible=["mine"])
    assert (decided.decision.policy, decided.fallback) == ("homepage", None)
    without = of("next", **following, killed={"arms": ["best", "news", "fresh"]})
    assert asked(knowing(of(), without)).decision.policy == "homepage"


def test_a_follower_that_is_stale_leaves_it_to_the_policy(of):
    stale = of("next", rollout=rollout(1.0), guardrails={"stale_after": "1h"})
    ages = {"next": 3_600_000, "homepage": 10**9}
    known = knowing(of(), stale, age_ms=lambda policy, _now_ms: ages[policy])
    assert asked(known).decision.policy == "homepage"
    ages["next"] -= 1
    assert asked(known).decision.policy == "next"


def test_a_follower_answers_for_a_policy_that_has_no_snapshot_itself(of):
    assert asked(knowing(of("next", rollout=rollout(1.0)))).decision.policy == "next"
    answered = answer(Known({}), Request("homepage", {}, None, "a1", 0), np.random.default_rng(1))
    assert isinstance(answered, NoAnswer)


def test_a_subject_sees_an_arm_no_more_often_than_the_cap_says(of):
    known = knowing(of(guardrails={"frequency": {"shows": 2, "window": "1h"}}))
    seen = [asked(known, "ada", now_ms=now_ms).arm for now_ms in range(6)]
    assert sorted(seen) == ["best", "best", "fresh", "fresh", "news", "news"]
    assert asked(known, "ada", now_ms=6).decision.guardrails == ("frequency-lifted",)
    assert asked(known, "bob", now_ms=6).decision.guardrails == ()
    assert asked(known, "ada", now_ms=3_600_000 + 6).decision.guardrails == ()
    assert asked(known, None, now_ms=6).decision.guardrails == ()
