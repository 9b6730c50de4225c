"""An action that is erased: its row is buried, its ledger record says so, and nothing brings it back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.codec import avro
from pipeline.codec.wire import decode_event
from pipeline.events import Decision
from pipeline.join.progress import DECISIONS, OUTCOMES
from tests.samples import define, linear_policy, plain_decision, plain_policy
from tests.traffic import as_avro
from tests.unit.join.test_join_step import ONE, Bench, S


def final(settle: str = "wait", **changed: Any) -> dict[str, Any]:
    """What the ledger says of a decision of 0 s, clicked: its window ends at 10 s and its grace at 15."""
    return {
        "reward": ONE,
        "reward_exponent": 15,
        "context_vector": b"",
        "bucket": 0,
        "expires_at_ms": 15 * S,
        "attribution": define(plain_policy(settle=settle)).statistics_hash,
        "is_final": True,
        **changed,
    }


def erasure(action_id: str = "x", counted: dict[str, Any] | None = None, **changed: Any) -> bytes:
    fields = {"action_id": action_id, "policy": "homepage", "generation": 1, "segment": "other", "arm": "a"}
    return avro.encode("erasure", {**fields, "decided_at_ms": 0, "counted": counted, **changed})


def optimistic() -> Bench:
    return Bench(plain_policy(settle="optimistic"))


def test_an_open_action_is_erased_and_what_comes_later_does_not_bring_it_back():
    """
    s  0     1     2      3  4          10       15
       D     C     erase  C  D(again)   ┤close   ┤expires: the tombstone goes
       ▲     ▲     ▲ erased                       nothing more in the ledger
    """
    bench = optimistic()
    bench.decide(0)
    bench.click(1)
    bench.read(DECISIONS, erasure())
    bench.click(3, "o2")
    bench.decide(0)
    assert [(r["revision"], r.get("is_erased", False)) for r in bench.rewards] == [
        (1, False),
        (2, False),
        (1 << 62, True),
    ]
    counts = ("open", "settled", "erased", "erasures", "duplicate")
    # The decision, and its repeat, are erased.
    assert [bench.count(f"decisions.{fate}") for fate in counts] == [0, 0, 2, 1, 0]
    assert bench.count("outcomes.erased") == 1
    bench.time(14.999)
    assert len(bench.actions.stored) == 1
    bench.time(15)
    assert not bench.actions.stored
    assert not bench.actions.index
    assert len(bench.rewards) == 3


def test_a_settled_action_is_erased_while_its_row_is_held():
    bench = Bench()
    bench.decide(0)
    bench.time(12)
    bench.read(DECISIONS, erasure())
    assert [bench.count(f"decisions.{fate}") for fate in ("settled", "erased")] == [0, 1]
    assert bench.rewards[-1]["is_erased"]


def test_the_ledger_record_of_an_erased_row_names_where_it_counted_and_nobody():
    vector = [4096, -7, 9]
    bench = Bench(linear_policy(settle="optimistic"))
    bench.decide(21, context={"x": 0.5, "y": 2.0}, context_vector=vector, segment="new", subject_hash="5e1f")
    fields = {"action_id": "x", "policy": "homepage", "generation": 1, "segment": "new", "arm": "a"}
    bench.read(DECISIONS, avro.encode("erasure", {**fields, "decided_at_ms": 21 * S}))
    record = bench.rewards[-1]
    assert (record["decision"], record["outcomes"], record["reward"]) == (b"", [], 0)
    # Buckets of 20 s; closes after 10 s and is held 5 s more.
    assert (record["segment"], record["bucket"], record["expires_at_ms"]) == ("new", 1, 36 * S)
    assert record["context_vector"] == bench.rewards[0]["context_vector"]
    assert not record["is_reward_final"]
    (tombstone,) = bench.actions.stored.values()
    assert len(tombstone) == 9  # a version and a time


def test_an_action_whose_row_is_gone_is_erased_by_what_the_erasure_says():
    bench = Bench()
    bench.decide(0)
    bench.time(15)
    said = final()
    bench.read(DECISIONS, erasure(counted=said))
    record = bench.rewards[-1]
    names = ("reward", "context_vector", "bucket", "attribution")
    assert [record[name] for name in names] == [said[name] for name in names]
    assert record["is_reward_final"]
    # Nothing can come that is not too late by itself.
    assert not bench.actions.stored
    assert [bench.count(f"decisions.{fate}") for fate in ("settled", "erased", "erasures")] == [1, 0, 1]


def test_what_was_final_in_the_ledger_stands_though_a_row_be_held():
    """State may go back behind the ledger in a crash: the ledger is the truth."""
    bench = optimistic()
    bench.decide(0)
    bench.read(DECISIONS, erasure(counted=final("optimistic")))
    assert (bench.rewards[-1]["reward"], bench.rewards[-1]["is_reward_final"]) == (ONE, True)


@pytest.mark.parametrize(
    ("said", "fields", "reason"),
    [
        ({"context_vector": b"\x01\x00"}, {}, "erasure-mismatch"),  # the policy has no context
        ({"reward": 10**9}, {}, "erasure-mismatch"),  # rewards lie in [0, 1]: 0 to 2^15
        ({"reward": -1}, {}, "erasure-mismatch"),
        ({"reward_exponent": 14}, {}, "erasure-mismatch"),
        ({"bucket": 1}, {}, "erasure-mismatch"),  # of 20 s
        ({"expires_at_ms": 14 * S}, {}, "erasure-mismatch"),
        ({"attribution": "cd"}, {}, "erasure-mismatch"),
        ({}, {"policy": "ghost"}, "unknown-policy"),
        ({}, {"generation": 2}, "unknown-generation"),
        ({}, {"arm": "ghost"}, "unknown-arm"),
        ({}, {"tallies": [{"row": "settled", "width": 1, "column": 0, "amount": 1}]}, "erasure-mismatch"),
    ],
)
def test_an_erasure_of_what_no_decision_can_have_counted_for_is_refused(said, fields, reason):
    bench = Bench()
    bench.read(DECISIONS, erasure(counted=final(**said), **fields))
    assert (bench.reasons, bench.rewards) == ([reason], [])
    assert bench.count("decisions.erasures") == 0


@pytest.mark.parametrize(
    ("tally", "is_taken"),
    [
        ({"row": "settled", "width": 1, "column": 0, "amount": 1}, True),
        ({"row": "delay:click", "width": 44, "column": 43, "amount": 1}, True),
        ({"row": "delay:purchase", "width": 44, "column": 0, "amount": 1}, False),
        ({"row": "delay:click", "width": 2, "column": 0, "amount": 1}, False),
        ({"row": "delay:click", "width": 44, "column": 44, "amount": 1}, False),
        ({"row": "delay:click", "width": 44, "column": -1, "amount": 1}, False),
        ({"row": "delay:click", "width": 44, "column": 0, "amount": 2**60}, False),
    ],
)
def test_tallies_of_an_erasure_are_of_rows_and_columns_that_the_policy_has(tally, is_taken):
    policy = plain_policy(settle="delay_corrected") | {"statistics": {"bucket": "2500ms"}}
    said = final() | {"attribution": define(policy).statistics_hash}
    bench = Bench(policy)
    bench.read(DECISIONS, erasure(counted=said, tallies=[tally]))
    assert bench.reasons == ([] if is_taken else ["erasure-mismatch"])


def test_an_action_that_is_held_is_taken_back_from_where_it_counts_whatever_its_erasure_says():
    bench = optimistic()
    bench.decide(0)
    bench.read(DECISIONS, erasure(segment="new", arm="b", decided_at_ms=60 * S))
    assert [(r["segment"], r["arm"], r["bucket"]) for r in bench.rewards] == [("other", "a", 0)] * 2


def test_a_final_erasure_of_another_decision_than_the_one_held_is_refused():
    bench = optimistic()
    bench.decide(0)
    bench.read(DECISIONS, erasure(counted=final("optimistic"), segment="new"))
    assert bench.reasons == ["erasure-mismatch"]


def test_each_erasure_is_answered_and_one_of_an_action_that_never_was_counts_nothing():
    bench = Bench()
    bench.read(DECISIONS, erasure("never"))
    bench.read(DECISIONS, erasure("never"))
    assert [(r["is_erased"], r["expires_at_ms"], r["reward"]) for r in bench.rewards] == [(True, 0, 0)] * 2
    # A refused decision may be sent again as late as an outcome waits for one: 60 s.
    assert len(bench.actions.stored) == 1
    bench.time(60)
    assert not bench.actions.stored


def test_outcomes_that_await_an_erased_decision_are_erased_with_it():
    bench = Bench()
    bench.click(1)
    bench.read(DECISIONS, erasure())
    assert [bench.count(f"outcomes.{fate}") for fate in ("awaiting-decision", "erased")] == [0, 1]
    bench.time(70)
    assert bench.reasons == []


def test_a_decision_and_its_erasure_in_one_step_are_taken_in_their_order():
    bench = optimistic()
    bench.read(DECISIONS, plain_decision("x", 0), erasure(), plain_decision("x", 0))
    assert [r["is_erased"] for r in bench.rewards] == [True]
    assert bench.count("decisions.erased") == 2


def test_an_erasure_does_not_move_event_time_and_does_not_belong_among_outcomes():
    bench = Bench()
    bench.decide(3)
    bench.read(DECISIONS, erasure())
    assert bench.progress.watermarks_ms[DECISIONS] == 3 * S
    bench.read(OUTCOMES, erasure())
    assert bench.reasons == ["unexpected-record"]


@pytest.mark.parametrize("encoding", ["json", "avro"])
def test_neither_row_nor_ledger_says_whose_a_decision_is(encoding):
    bench = optimistic()
    plain = plain_decision("x", 0, subject_hash="5e1f0dd5", context={"visits": 3.0})
    raw = as_avro(DECISIONS, plain) if encoding == "avro" else orjson.dumps(plain)
    bench.read(DECISIONS, raw)
    (row,) = bench.actions.stored.values()
    assert b"5e1f0dd5" not in row
    kept = bench.rewards[0]["decision"]
    assert b"5e1f0dd5" not in kept
    sent = decode_event(raw, "decision", {})
    assert isinstance(sent, Decision)
    assert decode_event(kept, "decision", {}) == sent._replace(subject_hash=None)


def test_a_repeat_is_a_duplicate_though_what_is_kept_of_the_first_names_nobody():
    bench = Bench()
    bench.decide(0, subject_hash="5e1f")
    bench.decide(0, subject_hash="5e1f")
    bench.decide(0, subject_hash="5e1f", arm="b")
    assert bench.count("decisions.duplicate") == 1
    assert bench.reasons == ["conflicting-duplicate"]
