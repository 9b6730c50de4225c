"""Arms that requests bring: decided, joined, folded and published, all pure.

A policy whose candidates are told by `price` and `video`. A visitor's x is the context's only feature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec import avro
from pipeline.codec.decision_writer import encode_decision
from pipeline.codec.wire import decode_event
from pipeline.errors import InvalidRecordError
from pipeline.events import Decision, decision_from
from pipeline.join.admission import admit
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress
from pipeline.join.step import Limits, advance, decode_arrivals, take
from pipeline.learn.ledger import fold_ledger, ledger_record, merge_deltas
from pipeline.learn.memory import Counted, FoldState, RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.book import PolicyBook
from pipeline.policy.candidates import CANDIDATES
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot, posterior_sha256
from pipeline.serve import Decided, LoadedSnapshot, NoAnswer, decide, load_snapshot
from pipeline.serve.decision.explain import explain
from tests.doubles import MemoryActions
from tests.samples import define, plain_decision, plain_outcome, plain_policy

FLOOR = 0.02
POLICY = plain_policy(
    settle="optimistic",
    arms=[{"name": "a", "features": {"price": 0.5, "video": 0.0}}],
    algorithm={"name": "hybrid_thompson"},
    context=[{"name": "x", "kind": "numeric", "low": -1.0, "high": 1.0}],
    candidates={"features": ["price", "video"]},
    exploration={"floor": FLOOR},
)
DEFINITION = define(POLICY)
Told = dict[str, float]
Rows = dict[RowKey, Statistics]

FEATURE = st.floats(-1.0, 1.0)
TOLD = st.fixed_dictionaries({"price": FEATURE, "video": FEATURE})
EVENTS = st.lists(st.tuples(TOLD, FEATURE, st.booleans(), st.integers(0, 1)), max_size=12)


def learned(events: list[tuple[Told, float, bool, int]], partitions: int, erased: int | None = None) -> Rows:
    """Join and fold decisions about candidates (features, x, clicked, partition); take one of them back."""
    rows: Rows = {}
    for partition in range(partitions):
        of_this = [(i, one) for i, one in enumerate(events) if partitions == 1 or one[3] == partition]
        book, progress, actions = PolicyBook(), Progress(), MemoryActions()
        book.put(DEFINITION)
        rewards: list[dict[str, Any]] = []

        def read(topic: str, records: list[dict[str, Any] | bytes]) -> None:
            raws = [one if isinstance(one, bytes) else orjson.dumps(one) for one in records]
            start = progress.positions[topic]  # noqa: B023  read within this round
            arrivals = decode_arrivals(topic, [(start + i, 10**6, b"", raw) for i, raw in enumerate(raws)], {})
            changes = take(topic, arrivals, progress, actions, book, Limits())  # noqa: B023
            assert not changes.refusals
            actions.apply(changes)  # noqa: B023
            rewards.extend(reward.fields() for reward in changes.rewards)  # noqa: B023

        read(
            DECISIONS,
            [
                plain_decision(f"x{i}", 1_000, arm=f"sku-{i}", context={"x": x}, candidates={f"sku-{i}": told})
                for i, (told, x, _, _) in of_this
            ],
        )
        read(OUTCOMES, [plain_outcome(f"x{i}", 1_500) for i, (_, _, clicked, _) in of_this if clicked])
        if erased is not None and any(i == erased for i, _ in of_this):
            erasure = {"action_id": f"x{erased}", "policy": "homepage", "generation": 1, "segment": "other"}
            erasure |= {"arm": f"sku-{erased}", "decided_at_ms": 1_000, "counted": None, "tallies": []}
            read(DECISIONS, [avro.encode("erasure", erasure)])
        read(DECISIONS, [avro.encode("tick", {"event_time_ms": 12_000})])
        while (step := advance(progress, frozenset({DECISIONS, OUTCOMES}), actions, book, 100)) is not None:
            actions.apply(step)
            rewards.extend(reward.fields() for reward in step.rewards)
        counted: dict[str, Counted] = {}
        state = FoldState()
        for offset, fields in enumerate(rewards):
            fields = {"is_erased": False, "is_reward_final": False, "tallies": [], **fields}  # noqa: PLW2901
            fold = fold_ledger([ledger_record(offset, fields)], counted, state)
            counted |= fold.counted
            merge_deltas(rows, fold.deltas.items())
    return rows


def snapshot_of(rows: Rows) -> LoadedSnapshot:
    return load_snapshot(build_snapshot(DEFINITION, sorted(rows.items()), {0: Mark(1, 1)}, 1, ""))


def decided(snapshot: LoadedSnapshot | None, candidates: Any, eligible: list[str] | None = None) -> Any:
    return decide(
        snapshot,
        "homepage",
        {"x": 0.5},
        eligible,
        rng=np.random.default_rng(3),
        action_id="d",
        now_ms=2_000,
        candidates=candidates,
        declared=DEFINITION.declared,
    )


def convinced() -> Rows:
    """Two hundred candidates, no two alike: those with video were clicked, the others not."""
    price = np.linspace(-1.0, 1.0, 200)
    return learned([({"price": p, "video": float(i % 2)}, 0.5, i % 2 == 1, 0) for i, p in enumerate(price.tolist())], 1)


@settings(max_examples=30)
@given(EVENTS)
def test_partitions_and_order_make_no_difference_to_what_is_learned(events):
    whole = learned(events, 1)
    assert learned(events, 2) == whole
    assert learned(events[::-1], 1) == whole
    assert posterior_sha256(DEFINITION, whole.items()) == posterior_sha256(DEFINITION, learned(events, 2).items())


@settings(max_examples=30)
@given(EVENTS.filter(bool), st.data())
def test_a_decision_that_is_erased_leaves_the_sums_of_the_others(events, data):
    gone = data.draw(st.integers(0, len(events) - 1))
    rows = {key: row for key, row in learned(events, 1, erased=gone).items() if row.sums.any()}
    assert rows == learned(events[:gone] + events[gone + 1 :], 1)


@settings(max_examples=40)
@given(st.dictionaries(st.text("klm", min_size=1, max_size=4), TOLD, min_size=1, max_size=8))
def test_the_vector_is_a_distribution_above_the_floor_over_candidates_and_arms(candidates):
    answer = decided(CONVINCED, candidates)
    assert sorted(answer.probabilities) == sorted([*candidates, "a"])
    assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
    assert min(answer.probabilities.values()) >= FLOOR * (1 - 1e-12)
    assert answer.propensity == answer.probabilities[answer.arm]
    logged = decode_event(encode_decision(answer.decision), "decision", {})
    assert isinstance(logged, Decision)
    assert logged.candidates == candidates
    if answer.arm != "a":
        book = PolicyBook()
        book.put(DEFINITION)
        assert admit(logged, book) is DEFINITION


CONVINCED = snapshot_of(convinced())


def test_all_candidates_are_one_row_of_the_products_of_features_and_context():
    x, price = 0.5, -0.25
    rows = learned([({"price": price, "video": 1.0}, x, True, 0)], 1)
    (key,) = rows
    assert key.arm == CANDIDATES
    # x on the grid is (1, 0.5), z is (1, -0.25, 1): z ⊗ x, in steps of 2^-12.
    phi = np.array([1.0, 0.5, -0.25, -0.125, 1.0, 0.5]) * 4096
    A, b = rows[key].moments()
    assert (np.outer(phi, phi) == A).all()
    assert (b == phi * 2**15).all()  # a click is worth 1, 2^15 on the grid
    assert rows[key].n == 1


def test_a_candidate_that_was_never_seen_is_judged_by_others_like_it():
    answer = decided(CONVINCED, {"new-video": {"price": 0.33, "video": 1.0}, "new-text": {"price": 0.33, "video": 0.0}})
    # Of hundreds with video all were clicked, of those without none: what is left of the other two is the floor's.
    assert answer.probabilities["new-video"] > 1 - 3 * FLOOR
    told = {arm.arm: arm for arm in explain(answer, CONVINCED).arms}
    assert told["new-video"].mean == pytest.approx(1.0, abs=0.05)
    assert told["new-text"].mean == pytest.approx(0.0, abs=0.05)


def test_with_an_empty_list_of_arms_only_the_candidates_are_eligible():
    one = {"k": {"price": 0.0, "video": 0.0}}
    assert decided(CONVINCED, one, []).probabilities == {"k": 1.0}
    assert set(decided(CONVINCED, one, ["a"]).probabilities) == {"a", "k"}
    assert decided(CONVINCED, one, ["gone"]).ignored == 1


@pytest.mark.parametrize(
    ("features", "seen"),
    [
        ({"price": 0.0}, "missing-feature"),
        ({"price": 1.5, "video": 0.0}, "feature-out-of-bounds"),
        ({"price": float("nan"), "video": 0.0}, "feature-out-of-bounds"),
        ({"price": True, "video": 0.0}, "wrong-feature-type"),
    ],
)
def test_a_candidate_that_cannot_be_scored_is_left_out_and_counted(features, seen):
    answer = decided(CONVINCED, {"k": features})
    assert isinstance(answer, Decided)
    assert (set(answer.probabilities), answer.ignored) == ({"a"}, 1)
    assert seen in answer.detail
    refused = decided(CONVINCED, {"k": features}, [])
    assert isinstance(refused, NoAnswer)
    assert seen in refused.detail


def test_a_candidate_may_not_have_the_name_of_an_arm():
    answer = decided(CONVINCED, {"a": {"price": 0.0, "video": 0.0}})
    assert (answer.arm, answer.ignored, answer.decision.candidates) == ("a", 1, {})


def test_without_a_snapshot_candidates_are_drawn_uniformly_and_learned_of_all_the_same():
    answer = decided(None, {"k": {"price": 0.5, "video": 1}, "l": {"price": 0.0, "video": 0}})
    assert answer.probabilities == {"k": 0.5, "l": 0.5}
    logged = decode_event(encode_decision(answer.decision), "decision", {})
    assert isinstance(logged, Decision)
    assert logged.candidates["k"] == {"price": 0.5, "video": 1.0}


def test_join_refuses_an_arm_whose_features_were_not_logged():
    book = PolicyBook()
    book.put(DEFINITION)
    with pytest.raises(InvalidRecordError, match="unknown-arm"):
        admit(decision_from(plain_decision(arm="sku-1", candidates={"sku-2": {"price": 0.0}})), book)
