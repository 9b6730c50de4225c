from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from benchmarks import deciding
from pipeline.codec import avro
from pipeline.codec.wire import decode_event
from pipeline.events import Decision
from pipeline.join.admission import admit, encode_missing, placed
from pipeline.models.chances.floor import apply_floor
from pipeline.policy.book import PolicyBook
from pipeline.policy.declared import NOTHING_DECLARED
from pipeline.policy.definition import Candidates, PolicyDefinition
from pipeline.policy.features import decode
from pipeline.policy.parsing.parse import load_policy
from pipeline.publish.parts import SnapshotContent
from pipeline.serve import Decided, LoadedSnapshot, NoAnswer, decide, load_snapshot
from pipeline.serve.decision.decide import draw_from
from pipeline.serve.decision.plan import Asked, Plan
from tests.harness.taught import taught

CLICKS = {"news": (30, 100), "best": (40, 100), "fresh": (1, 2)}
SOUND = {"age": 30.0, "device": "mobile"}
ACTIVE = ("best", "fresh", "news")

NOW_MS = 1_700_000_000_000
Content = Callable[..., bytes]


@pytest.fixture
def of_beta(beta: PolicyDefinition, content_of: Content) -> LoadedSnapshot:
    return load_snapshot(content_of(beta, CLICKS))


@pytest.fixture
def of_linear(linear: PolicyDefinition, content_of: Content) -> LoadedSnapshot:
    return load_snapshot(content_of(linear, CLICKS))


def ask(
    snapshot: LoadedSnapshot | None, context: Any = SOUND, eligible: Sequence[str] | None = None, seed: int = 1
) -> Decided | NoAnswer:
    rng = np.random.default_rng(seed)
    return decide(snapshot, "homepage", context, eligible, rng=rng, action_id="a1", now_ms=NOW_MS)


def answered(
    snapshot: LoadedSnapshot | None, context: Any = SOUND, eligible: Sequence[str] | None = None, seed: int = 1
) -> Decided:
    answer = ask(snapshot, context, eligible, seed)
    assert isinstance(answer, Decided)
    return answer


def as_join_reads(answer: Decided) -> Decision:
    """The record, through the wire and JOIN's checks of what a producer may send."""
    event = decode_event(avro.encode("decision", answer.decision._asdict()), "decision", {})
    assert isinstance(event, Decision)
    return event


def book_of(*definitions: PolicyDefinition) -> PolicyBook:
    book = PolicyBook()
    for definition in definitions:
        book.put(definition)
    return book


# What is drawn, and what is logged.


def test_the_logged_propensity_is_the_entry_that_was_drawn(of_beta: LoadedSnapshot, of_linear: LoadedSnapshot) -> None:
    for snapshot in (of_beta, of_linear):
        for seed in range(50):
            answer = answered(snapshot, seed=seed)
            assert answer.decision.eligible == ACTIVE
            assert answer.propensity == answer.probabilities[answer.arm]
            assert sum(answer.decision.probabilities) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["of_beta", "of_linear"])
def test_arms_come_as_often_as_their_propensities_say(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = request.getfixturevalue(kind)
    first = answered(snapshot).probabilities
    # The vector is the same each time: computed once, drawn from each time.
    propensities = np.array([first[arm] for arm in ACTIVE])
    monkeypatch.setattr(LoadedSnapshot, "propensities", lambda *_: propensities)
    rng = np.random.default_rng(11)
    draws = 200_000
    arms = Counter[str]()
    for _ in range(draws):
        answer = decide(snapshot, "homepage", SOUND, None, rng=rng, action_id="a", now_ms=NOW_MS)
        assert isinstance(answer, Decided)
        assert answer.propensity == first[answer.arm]
        arms[answer.arm] += 1
    # A right program fails this for one seed in a thousand; the seed is fixed.
    assert chisquare([arms[arm] for arm in ACTIVE], draws * propensities).pvalue > 0.001


def test_the_same_generator_draws_the_same_arms(of_beta: LoadedSnapshot) -> None:
    def arms(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        answers = (decide(of_beta, "homepage", {}, None, rng=rng, action_id="a", now_ms=1) for _ in range(20))
        return [answer.arm for answer in answers if isinstance(answer, Decided)]

    assert arms(3) == arms(3)
    assert arms(3) != arms(4)


def test_the_model_is_asked_about_the_context_as_it_is_logged(of_linear: LoadedSnapshot) -> None:
    answer = answered(of_linear)
    x = np.frombuffer(answer.decision.context_vector, "<i2")
    # Intercept; 30 of 0..100 is -0.4 of ±1, in steps of 2^-12 -1638.4; mobile; not desktop.
    assert x.tolist() == [4096, -1638, 4096, 0]
    posterior = of_linear.segments["other"].of(ACTIVE)
    weights = of_linear.model.probabilities(posterior, decode(x))
    assert answer.decision.probabilities == apply_floor(weights, 0.05).tolist()


def test_no_eligible_arm_is_below_the_floor(beta: PolicyDefinition, content_of: Content) -> None:
    sure = load_snapshot(content_of(beta, {"best": (9_000, 10_000), "news": (10, 10_000), "fresh": (10, 10_000)}))
    # w is (1, 0, 0) to 1e-9, so p is 0.05 + (1 - 3 · 0.05) w.
    assert answered(sure).decision.probabilities == pytest.approx([0.9, 0.05, 0.05], abs=1e-8)
    assert min(answered(sure).decision.probabilities) >= 0.05


@given(floor=st.floats(0.0, 1.0), arms=st.integers(1, 60), seed=st.integers(0, 5))
def test_a_propensity_never_leaves_what_a_record_may_say(floor: float, arms: int, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.full(arms, 0.1))
    for certain in (weights / weights.sum(), np.eye(arms)[0]):
        propensities = apply_floor(certain, min(floor, 1.0 / arms))
        assert propensities.min() >= 0.0
        assert propensities.max() <= 1.0


def test_an_entry_that_rounding_put_above_1_is_1(of_beta: LoadedSnapshot) -> None:
    above = np.nextafter(1.0, 2.0)  # as 0.05 + 0.95 · w may come to, in the last bit
    made = Plan(Asked("homepage", SOUND, None, "a1", NOW_MS), of_beta, "other", ACTIVE, [above, 0.0, 0.0])
    decision = draw_from(made, 0.5).decision
    assert (decision.propensity, list(decision.probabilities)) == (1.0, [1.0, 0.0, 0.0])


def test_the_record_says_everything_and_join_accepts_it(
    beta: PolicyDefinition, linear: PolicyDefinition, of_beta: LoadedSnapshot, of_linear: LoadedSnapshot
) -> None:
    for definition, snapshot in ((beta, of_beta), (linear, of_linear)):
        context = SOUND | {"premium": True, "visits": 3}
        rng = np.random.default_rng(1)
        answer = decide(snapshot, "homepage", context, None, rng=rng, action_id="a1", now_ms=NOW_MS, subject_hash="ff")
        assert isinstance(answer, Decided)
        decision = as_join_reads(answer)
        assert decision == answer.decision._replace(eligible=list(ACTIVE))
        assert (decision.action_id, decision.policy, decision.generation) == ("a1", "homepage", 3)
        assert (decision.segment, decision.reason) == ("premium", "policy")
        assert (decision.snapshot_version, decision.snapshot_id) == (7, snapshot.id)
        assert (decision.decided_at_ms, decision.subject_hash) == (NOW_MS, "ff")
        assert decision.schema_hash == definition.schema_hash
        declared = {"age", "device", "premium"} if definition is linear else {"premium"}
        assert decision.context == {name: value for name, value in context.items() if name in declared}
        assert admit(decision, book_of(definition)) == definition


def test_what_a_record_cannot_carry_is_left_out_of_its_context(beta: PolicyDefinition, content_of: Content) -> None:
    logged = ("fine", "text", "flag", "null", "list", "huge", "half", "long", "numpy", "infinite")
    context = {
        "fine": 1,
        "text": "ä",
        "flag": False,
        "null": None,
        "list": [1],
        "huge": 10**400,
        "half": "\ud800",
        "long": "x" * 257,
        "\ud800": 1,
        7: 1,
        "numpy": np.float64(0.5),
        "infinite": float("inf"),
    }
    decision = as_join_reads(
        answered(load_snapshot(content_of(replace(beta, logged=logged), CLICKS)), MappingProxyType(context))
    )
    assert decision.context == {"fine": 1.0, "text": "ä", "flag": False, "numpy": 0.5, "infinite": float("inf")}


# Who is eligible.


def test_only_listed_arms_can_be_drawn(of_beta: LoadedSnapshot) -> None:
    drawn = {answered(of_beta, eligible=["news", "fresh"], seed=seed).arm for seed in range(100)}
    assert drawn == {"news", "fresh"}


def test_the_order_and_repeats_of_a_list_mean_nothing(of_beta: LoadedSnapshot) -> None:
    one, other = (answered(of_beta, eligible=listed) for listed in (["news", "best"], ["best", "news", "best"]))
    assert one == other
    assert one.decision.eligible == ("best", "news")
    assert one.ignored == 0


def test_unknown_and_retired_arms_of_a_list_are_ignored_and_counted(of_beta: LoadedSnapshot) -> None:
    answer = answered(of_beta, eligible=["news", "best", "old", "never heard of", "never heard of"])
    assert answer.decision.eligible == ("best", "news")
    assert answer.ignored == 2  # old, and one name that is unknown
    assert answer.reason == "policy"


def test_one_listed_arm_is_certain(of_beta: LoadedSnapshot, of_linear: LoadedSnapshot) -> None:
    for snapshot in (of_beta, of_linear):
        answer = answered(snapshot, eligible=["fresh"])
        assert (answer.arm, answer.propensity, answer.reason) == ("fresh", 1.0, "policy")


def test_a_retired_arm_is_never_drawn(of_beta: LoadedSnapshot) -> None:
    assert all("old" not in answered(of_beta, eligible=listed).probabilities for listed in (None, ["old", "news"]))


# Always an answer: law 10.


def assert_uniform(answer: Decided, arms: Sequence[str]) -> None:
    assert list(answer.probabilities) == list(arms)
    assert set(answer.probabilities.values()) == {1.0 / len(arms)}
    assert answer.propensity == 1.0 / len(arms)
    assert answer.reason == "fallback"
    assert answer.detail
    as_join_reads(answer)


def test_fields_that_the_policy_does_not_declare_are_logged_nowhere(
    linear: PolicyDefinition, content_of: Content
) -> None:
    snapshot = load_snapshot(content_of(replace(linear, logged=("page",)), CLICKS))
    plain = {"age": 30.0, "device": "mobile", "premium": True, "page": "/sale"}
    answer = answered(snapshot, plain | {"email": "jane@example.org", "visits": 3.0})
    assert answer.decision.context == plain
    # What can't be encoded is logged as it came, of the same fields: JOIN says what is amiss.
    broken = answered(snapshot, {"age": "thirty", "device": "mobile", "email": "jane@example.org"})
    assert (broken.fallback, broken.decision.context) == ("unencodable-context", {"age": "thirty", "device": "mobile"})


def test_without_a_snapshot_policies_say_what_is_logged_and_else_nothing_is(linear: PolicyDefinition) -> None:
    context, offered = SOUND | {"email": "jane@example.org"}, {"sku": {"price": 0.5}}
    with_candidates = replace(linear, candidates=Candidates(("price",)))
    for declared, logged, told in (
        (NOTHING_DECLARED, {}, {"sku": {}}),
        (linear.declared, SOUND, {"sku": {}}),
        (with_candidates.declared, SOUND, {"sku": {"price": 0.5}}),
    ):
        rng = np.random.default_rng(1)
        answer = decide(
            None, "p", context, [], rng=rng, action_id="a", now_ms=NOW_MS, candidates=offered, declared=declared
        )
        assert isinstance(answer, Decided)
        assert (answer.decision.context, answer.decision.candidates) == (logged, told)


def test_without_a_snapshot_the_callers_list_is_drawn_from(beta: PolicyDefinition) -> None:
    answer = answered(None, {"visits": 3.0}, ["news", "best", "news"])
    assert_uniform(answer, ["best", "news"])
    assert answer.fallback == "no-snapshot"
    decision = as_join_reads(answer)
    assert (decision.segment, decision.snapshot_version, decision.snapshot_id) == ("unknown", 0, "")
    assert decision.context == {}
    first_generation = replace(beta, generation=1)
    assert admit(decision, book_of(first_generation)) == first_generation


def test_without_snapshot_and_list_there_is_no_answer() -> None:
    answer = ask(None)
    assert isinstance(answer, NoAnswer)
    assert answer.reason == "no-snapshot"
    assert "no snapshot of policy 'homepage'" in answer.detail


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({}, "missing-feature"),
        ({"age": 30.0}, "missing-feature"),
        ({"age": 130.0, "device": "mobile"}, "feature-out-of-bounds"),
        ({"age": "30", "device": "mobile"}, "wrong-feature-type"),
        ({"age": float("nan"), "device": "mobile"}, "feature-not-finite"),
        ({"age": 10**400, "device": "mobile"}, "feature-out-of-bounds"),
        ({"age": None, "device": "mobile"}, "wrong-feature-type"),
        ({"age": 30.0, "device": ["mobile"]}, "wrong-feature-type"),
        ({"age": 30.0, "device": "\ud800"}, "unknown-category"),
    ],
)
def test_a_context_that_cannot_be_encoded_is_answered_but_never_learned_from(
    context: dict[str, object], reason: str, linear: PolicyDefinition, of_linear: LoadedSnapshot
) -> None:
    answer = answered(of_linear, context)
    assert_uniform(answer, ACTIVE)
    assert answer.fallback == "unencodable-context"
    assert answer.detail.startswith(reason)
    decision = as_join_reads(answer)
    assert (decision.segment, decision.generation, decision.context_vector) == ("other", 3, b"")
    # The node says why; JOIN does not try again, and places it in the ledger without a vector.
    assert decision.undecodable == reason
    definition = admit(decision, book_of(linear))
    (vector,) = encode_missing([(decision, definition)])
    assert placed(decision, definition, vector) == (decision.arm, b"", reason)
    # What a node of a release before logs says nothing; then it is JOIN that finds it out, by what was logged.
    (found,) = encode_missing([(decision._replace(undecodable=""), definition)])
    assert isinstance(found, Exception)


def test_a_context_that_cannot_be_encoded_keeps_the_callers_list(of_linear: LoadedSnapshot) -> None:
    assert_uniform(answered(of_linear, {}, ["news", "best"]), ["best", "news"])


def test_a_policy_without_features_takes_any_context(of_beta: LoadedSnapshot) -> None:
    assert answered(of_beta, {"anything": [1]}).reason == "policy"
    assert answered(of_beta, {}).reason == "policy"


def test_a_segment_that_the_snapshot_lacks_is_drawn_uniformly_and_counts_there(
    of_linear: LoadedSnapshot, linear: PolicyDefinition
) -> None:
    lacking = replace(of_linear, segments={"other": of_linear.segments["other"]})
    answer = answered(lacking, SOUND | {"premium": True})
    assert_uniform(answer, ACTIVE)
    assert answer.fallback == "unknown-segment"
    decision = as_join_reads(answer)
    assert (decision.segment, decision.snapshot_version) == ("premium", 7)
    assert decision.context_vector == linear.features.encode(SOUND).tobytes()


def test_uniform_is_what_equal_priors_give(of_beta: LoadedSnapshot, of_linear: LoadedSnapshot) -> None:
    # Why a segment without posterior needs no model: in `premium` there are no data.
    for snapshot in (of_beta, of_linear):
        answer = answered(snapshot, SOUND | {"premium": True})
        assert answer.reason == "policy"
        assert answer.decision.probabilities == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_a_model_that_finds_no_answer_is_replaced_by_a_uniform_draw(
    of_linear: LoadedSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("chances come to nan")

    monkeypatch.setattr(type(of_linear.model), "probabilities", fail)
    answer = answered(of_linear)
    assert_uniform(answer, ACTIVE)
    assert (answer.fallback, answer.detail) == ("model-failed", "chances come to nan")
    assert answer.decision.context_vector == of_linear.definition.features.encode(SOUND).tobytes()


def test_a_list_without_a_known_arm_is_drawn_from_itself(of_beta: LoadedSnapshot, beta: PolicyDefinition) -> None:
    answer = answered(of_beta, eligible=["zebra", "just added", "old"])
    assert_uniform(answer, ["just added", "zebra"])
    assert (answer.fallback, answer.ignored) == ("no-known-arm", 1)
    grown = replace(beta, arms=(*beta.arms, *(replace(beta.arms[0], name=name) for name in ("just added", "zebra"))))
    assert admit(as_join_reads(answer), book_of(grown)) == grown


@pytest.mark.parametrize("listed", [[], ["old"]])
def test_a_list_that_leaves_nothing_to_show_has_no_answer(listed: list[str], of_beta: LoadedSnapshot) -> None:
    answer = ask(of_beta, eligible=listed)
    assert isinstance(answer, NoAnswer)
    assert answer.reason == "no-eligible-arm"


def test_an_empty_list_has_no_answer_without_a_snapshot_either() -> None:
    answer = ask(None, eligible=[])
    assert isinstance(answer, NoAnswer)
    assert answer.reason == "no-eligible-arm"


def test_the_first_thing_amiss_is_named(of_linear: LoadedSnapshot) -> None:
    answer = answered(of_linear, {}, ["zebra"])
    assert_uniform(answer, ["zebra"])
    assert answer.fallback == "no-known-arm"
    assert answer.decision.context_vector == b""


@pytest.mark.parametrize("name", ["homepage", "homepage-linear"])
def test_the_example_policies_decide_from_their_first_snapshot(name: str, content_of: Content) -> None:
    path = Path(__file__).parents[3] / "ops" / "policies" / f"{name}.toml"
    definition = load_policy(path.read_text("utf-8"), name)
    snapshot = load_snapshot(content_of(definition, {}))
    context = {"visits": 3, "age": 40, "device": "mobile", "hour": 13.5, "premium": False}
    answer = answered(snapshot, context)
    assert answer.reason == "policy"
    assert answer.decision.probabilities == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_where_every_candidate_was_shown_too_often_the_model_is_asked_about_the_other_arms() -> None:
    scored = deciding.policy(3, "hybrid_thompson", candidates=True)
    snapshot = load_snapshot(SnapshotContent(taught(scored, 1), {}))
    offered = {"sku-1": {f"z{i}": 0.5 for i in range(4)}, "sku-2": {f"z{i}": -0.5 for i in range(4)}}
    answers = [
        decide(
            snapshot,
            scored.name,
            deciding.context(),
            None,
            rng=np.random.default_rng(1),
            action_id="a",
            now_ms=NOW_MS,
            candidates=candidates,
            worn={*offered, scored.arm_names[0]},
        )
        for candidates in (offered, {})
    ]
    for answer in answers:
        assert isinstance(answer, Decided)
        assert (answer.fallback, answer.detail) == (None, "")
    worn, without = (answer.decision for answer in answers if isinstance(answer, Decided))
    assert (worn.eligible, worn.probabilities) == (without.eligible, without.probabilities)
