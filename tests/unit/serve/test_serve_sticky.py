"""One answer per person: nodes that know nothing of each other give the same one, and shares are propensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Switches
from pipeline.policy.parsing.parse import parse_policy
from pipeline.serve import Decided, LoadedSnapshot, NoAnswer, decide, load_snapshot
from pipeline.serve.decision.rollout import Known, Request, answer, answer_many
from pipeline.serve.guardrails.sticky import Ranking
from tests.unit.serve.conftest import BETA, LINEAR

Content = Callable[..., bytes]
CLICKS = {"news": (30, 100), "best": (40, 100), "fresh": (1, 2)}
ARMS = ["best", "fresh", "news"]
SHARES = [0.5, 0.3, 0.2]
WEEK = {"sticky": "subject", "epoch": "7d", "constant": ["premium"]}
NOW_MS = 1_700_000_000_000
UNLIKELY = 0.001
"""A right program fails a test at this level for one salt in a thousand; the salts are fixed."""


def kept(policy: dict[str, Any] = BETA, **assignment: Any) -> PolicyDefinition:
    return parse_policy(policy | {"assignment": WEEK | assignment}, "test")


def asked(
    snapshot: LoadedSnapshot,
    subject: str | None = "ada",
    context: Any = None,
    eligible: Sequence[str] | None = None,
    seed: int | None = None,
    **others: Any,
) -> Decided | NoAnswer:
    return decide(
        snapshot,
        "homepage",
        context or {},
        eligible,
        rng=np.random.default_rng(seed),
        action_id="x",
        now_ms=NOW_MS,
        subject_hash=subject,
        **others,
    )


def shown(snapshot: LoadedSnapshot, *arguments: Any, **others: Any) -> Decided:
    answered = asked(snapshot, *arguments, **others)
    assert isinstance(answered, Decided)
    return answered


def test_a_hundred_thousand_subjects_are_shown_arms_in_their_propensities_shares():
    counts = Counter(ARMS[Ranking(f"s{i}", "homepage", "1", "").first(ARMS, SHARES)] for i in range(100_000))
    assert chisquare([counts[arm] for arm in ARMS], [100_000 * share for share in SHARES]).pvalue > UNLIKELY


def test_who_loses_its_arm_moves_in_the_shares_that_are_left_and_nobody_else_moves():
    rankings = [Ranking(f"s{i}", "homepage", "1", "") for i in range(30_000)]
    before = [ARMS[one.first(ARMS, SHARES)] for one in rankings]
    after = [["best", "news"][one.first(["best", "news"], [5 / 7, 2 / 7])] for one in rankings]
    pairs = list(zip(before, after, strict=True))
    assert all(old == new for old, new in pairs if old != "fresh")
    moved = Counter(new for old, new in pairs if old == "fresh")
    # .5 and .2 of what is left without fresh.
    expected = [moved.total() * share for share in (5 / 7, 2 / 7)]
    assert chisquare([moved["best"], moved["news"]], expected).pvalue > UNLIKELY


def test_whom_another_vector_moves_is_no_more_than_what_it_has_moved():
    """An arm that gains a tenth takes it from others' people: nobody else changes."""
    rankings = [Ranking(f"s{i}", "homepage", "1", "") for i in range(20_000)]
    before = [ARMS[one.first(ARMS, SHARES)] for one in rankings]
    after = [ARMS[one.first(ARMS, [0.5 * 0.9, 0.3 * 0.9, 0.2 * 0.9 + 0.1])] for one in rankings]
    assert {(old, new) for old, new in zip(before, after, strict=True) if old != new} == {
        ("best", "news"),
        ("fresh", "news"),
    }
    moved = sum(old != new for old, new in zip(before, after, strict=True)) / 20_000
    # A tenth of the .8 that the two others had: .08, with an error of √(.08 .92 / 20000) = .0019.
    assert abs(moved - 0.08) < 4 * 0.0019


@pytest.mark.parametrize("other", [{"epoch": "2"}, {"policy": "prices"}, {"salt": "2026"}])
def test_another_epoch_policy_or_salt_draws_anew_whoever_was_shown_what(other):
    one = {"policy": "homepage", "epoch": "1", "salt": ""}
    same = sum(
        Ranking(f"s{i}", **one).first(ARMS, SHARES) == Ranking(f"s{i}", **(one | other)).first(ARMS, SHARES)
        for i in range(20_000)
    )
    # Independent: the same arm twice has chance Σp² = .25 + .09 + .04 = .38, error √(.38 .62 / 20000) = .0034.
    assert abs(same / 20_000 - 0.38) < 4 * 0.0034


def test_an_arm_is_drawn_independently_of_who_is_held_out(content_of: Content):
    """Else the holdout, or a rollout's share, would be people of one arm."""
    snapshot = load_snapshot(
        content_of(kept(BETA | {"guardrails": {"holdout": {"share": 0.5}, "control": "best"}}), CLICKS)
    )
    free = load_snapshot(content_of(kept(), CLICKS))
    held = [shown(snapshot, f"s{i}").reason == "holdout" for i in range(3_000)]
    arms = Counter(shown(free, f"s{i}").arm for i in range(3_000) if held[i])
    shares = shown(free).probabilities
    expected = [arms.total() * shares[arm] for arm in ARMS]
    assert chisquare([arms[arm] for arm in ARMS], expected).pvalue > UNLIKELY


def test_nodes_and_their_restarts_give_a_subject_one_arm_with_its_vector(content_of: Content):
    content = content_of(kept(), CLICKS)
    nodes = [load_snapshot(content) for _ in range(5)]
    for i in range(300):
        subject = f"s{i}"
        answers = [shown(node, subject, seed=n) for n, node in enumerate(nodes)]
        answers.append(shown(load_snapshot(content), subject))
        assert len({answer.arm for answer in answers}) == 1
        assert len({tuple(answer.decision.probabilities) for answer in answers}) == 1
        assert answers[0].propensity == answers[0].probabilities[answers[0].arm]
    arms = Counter(shown(nodes[0], f"t{i}").arm for i in range(3_000))
    expected = [3_000 * shown(nodes[0]).probabilities[arm] for arm in ARMS]
    assert chisquare([arms[arm] for arm in ARMS], expected).pvalue > UNLIKELY


def test_a_later_snapshot_of_an_epoch_draws_by_the_same_numbers_and_one_of_the_next_by_others(content_of: Content):
    week, by_version = kept(), kept(epoch="snapshot")

    def arms(definition: PolicyDefinition, version: int) -> list[str]:
        snapshot = load_snapshot(content_of(definition, CLICKS, version=version))
        return [shown(snapshot, f"s{i}").arm for i in range(200)]

    assert arms(week, 7) == arms(week, 8)
    assert arms(by_version, 7) == arms(by_version, 7) != arms(by_version, 8)


def test_an_arm_that_can_t_be_shown_is_given_back_when_it_can(content_of: Content):
    snapshot = load_snapshot(content_of(kept(), CLICKS))
    whole = shown(snapshot).probabilities
    for i in range(100):
        subject = f"s{i}"
        own = shown(snapshot, subject).arm
        rest = [arm for arm in ARMS if arm != own]
        for other in (
            shown(snapshot, subject, eligible=rest),
            shown(snapshot, subject, switches=Switches(arms=(own,))),
        ):
            assert other.arm in rest
            # The others' chances to each other are as they were.
            assert other.propensity == pytest.approx(whole[other.arm] / (1.0 - whole[own]))
        assert shown(snapshot, subject, eligible=[own, rest[0]]).arm == own
        assert shown(snapshot, subject).arm == own


def test_a_killed_policy_shows_everybody_the_control_and_then_its_own_again(content_of: Content):
    snapshot = load_snapshot(content_of(kept(BETA | {"guardrails": {"control": "fresh"}}), CLICKS))
    before = [shown(snapshot, f"s{i}").arm for i in range(50)]
    killed = [shown(snapshot, f"s{i}", switches=Switches(is_killed=True)) for i in range(50)]
    assert {(one.arm, one.propensity) for one in killed} == {("fresh", 1.0)}
    assert [shown(snapshot, f"s{i}").arm for i in range(50)] == before


def test_a_request_that_names_nobody_is_refused_with_what_to_do(content_of: Content):
    snapshot = load_snapshot(content_of(kept(), CLICKS))
    known = Known({"homepage": snapshot})
    for answered in (
        asked(snapshot, None),
        asked(snapshot, ""),
        answer(known, Request("homepage", {}, None, "x", NOW_MS), np.random.default_rng(1)),
    ):
        assert isinstance(answered, NoAnswer)
        assert answered.reason == "no-subject"
        assert "send `subject`" in answered.detail
        assert 'anonymous = "chance"' in answered.detail


def test_a_policy_may_let_nobody_be_drawn_for_by_chance_by_the_same_vector(content_of: Content):
    snapshot = load_snapshot(content_of(kept(anonymous="chance"), CLICKS))
    answers = [shown(snapshot, None, seed=seed) for seed in range(60)]
    assert len({answer.arm for answer in answers}) > 1
    vector = tuple(shown(snapshot).decision.probabilities)
    assert {tuple(answer.decision.probabilities) for answer in answers} == {vector}
    assert "sticky" not in answers[0].decision.guardrails
    assert "sticky" in shown(snapshot).decision.guardrails


@pytest.mark.parametrize("policy", [BETA, LINEAR])
def test_many_at_once_are_given_what_each_is_given_alone(content_of: Content, policy: dict[str, Any]):
    definition = kept(policy, constant=["premium", "age", "device"])
    known = Known({"homepage": load_snapshot(content_of(definition, CLICKS))})
    offers = (None, ["best", "news"], ["fresh", "news"])
    requests = [
        Request("homepage", {"age": 30.0 + i % 3, "device": "mobile"}, offers[i % 3], f"x{i}", NOW_MS, f"s{i % 40}")
        for i in range(240)
    ]
    many = answer_many(known, requests, np.random.default_rng(1))
    alone = [answer(known, one, np.random.default_rng(i)) for i, one in enumerate(requests)]
    for one, other in zip(many, alone, strict=True):
        assert isinstance(one, Decided)
        assert isinstance(other, Decided)
        assert one.fallback is None
        assert one.arm == other.arm
        assert one.decision.probabilities == pytest.approx(other.decision.probabilities, rel=1e-9)


def test_a_vector_of_what_is_constant_decides_for_a_person_too(content_of: Content):
    policy = kept(LINEAR, constant=["premium", "age", "device"])
    nodes = [load_snapshot(content_of(policy, CLICKS)) for _ in range(2)]
    context = {"age": 30.0, "device": "mobile"}
    for i in range(50):
        first, second = (shown(node, f"s{i}", context, seed=n) for n, node in enumerate(nodes))
        assert (first.arm, first.fallback) == (second.arm, None)
        assert first.decision.context_vector == second.decision.context_vector


def test_a_context_that_can_t_be_encoded_gives_a_person_one_answer_too(content_of: Content):
    snapshot = load_snapshot(content_of(kept(LINEAR, constant=["premium", "age", "device"]), CLICKS))
    answers = [shown(snapshot, "ada", {"age": "old"}, seed=seed) for seed in range(20)]
    assert {answer.fallback for answer in answers} == {"unencodable-context"}
    assert len({answer.arm for answer in answers}) == 1


def test_an_apprentice_is_logged_with_the_answer_that_the_other_keeps(content_of: Content):
    master = load_snapshot(content_of(kept(), CLICKS))
    learner = parse_policy(
        BETA | {"name": "next", "rollout": {"of": "homepage", "share": 1.0, "mode": "apprentice"}}, "test"
    )
    both = Known({"homepage": master, "next": load_snapshot(content_of(learner, CLICKS))})
    alone = Known({"homepage": master})
    for i in range(40):
        request = Request("homepage", {}, None, f"x{i}", NOW_MS, f"s{i}")
        logged = answer(both, request, np.random.default_rng(i))
        own = answer(alone, request, np.random.default_rng(99 - i))
        assert isinstance(logged, Decided)
        assert isinstance(own, Decided)
        assert logged.decision.policy == "next"
        assert (logged.arm, logged.propensity) == (own.arm, own.propensity)


def test_who_follows_a_sticky_policy_answers_whom_it_can_and_leaves_the_others(content_of: Content):
    """A follower that wants a subject leaves requests without one to the policy that was asked."""
    follower = parse_policy(
        BETA | {"name": "next", "assignment": WEEK, "rollout": {"of": "homepage", "share": 1.0}}, "test"
    )
    asked_one = parse_policy(BETA, "test")
    known = Known(
        {one.name: load_snapshot(content_of(one, CLICKS)) for one in (follower, replace(asked_one, floor=0.06))}
    )
    for subject, decides in (("ada", "next"), (None, "homepage")):
        answered = answer(known, Request("homepage", {}, None, "x", NOW_MS, subject), np.random.default_rng(1))
        assert isinstance(answered, Decided)
        assert answered.decision.policy == decides
