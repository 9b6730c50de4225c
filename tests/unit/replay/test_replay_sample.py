from __future__ import annotations

import orjson
import pytest

from pipeline.replay.proof.sample import can_be_judged, record_fault, spread
from tests.samples import CLICK as CLICK_RULE
from tests.samples import define, exp3_policy, plain_decision, plain_policy

POLICY = define(plain_policy())
CLICK = {"outcome_id": "o", "kind": "click", "value": 1.0, "occurred_at_ms": 25_000}
RECORD = {
    "action_id": "x",
    "reward": 2**15,  # a click is worth 1
    "reward_exponent": 15,
    "decided_at_ms": 20_000,
    "bucket": 1,  # of 20 s each
    "revision": 3,  # the decision, the click, settled
    "is_settled": True,
    "arm": "a",
    "outcomes": [CLICK],
    "context_vector": b"",
    "tallies": [],
}


def test_a_record_that_is_worth_what_its_outcomes_are_has_no_fault():
    assert record_fault(RECORD, POLICY) is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"reward": 2**15 - 1}, "reward"),
        ({"outcomes": []}, "reward"),
        ({"reward_exponent": 14}, "reward_exponent"),
        ({"bucket": 0}, "bucket"),
        ({"revision": 2}, "revision"),
        ({"arm": "z"}, "arm"),
        # A click counts for 10 s.
        ({"outcomes": [CLICK | {"occurred_at_ms": 30_001}]}, "outcome o: ms after its decision"),
        ({"outcomes": [CLICK | {"occurred_at_ms": 19_999}]}, "outcome o: ms after its decision"),
        ({"outcomes": [CLICK | {"kind": "tip"}]}, "outcome o: kind"),
    ],
)
def test_what_does_not_follow_from_the_outcomes_is_named(change, where):
    fault = record_fault(RECORD | change, POLICY)
    assert fault is not None
    assert fault.where == where


def test_tallies_that_do_not_follow_from_the_outcomes_are_named():
    apart = define(plain_policy(combine="weighted", outcomes=(CLICK_RULE | {"worth": 0.5},)))
    # One kind: Σc in column 0 and Σcc in column 1.
    tallies = [{"row": "objectives", "width": 2, "column": column, "amount": 1} for column in (0, 1)]
    record = RECORD | {"reward": 0, "tallies": tallies}
    assert record_fault(record, apart) is None
    fault = record_fault(record | {"tallies": tallies[:1]}, apart)
    assert fault is not None
    assert fault.where == "tallies"


def test_a_propensity_is_that_of_the_record_s_decision():
    drawn = define(exp3_policy())
    # p = 1/4: 1/p in steps of 2^-15, and a reward of 1 by p.
    tallies = [{"row": "importance", "width": 2, "column": column, "amount": 4 * 2**15} for column in (0, 1)]
    record = RECORD | {"tallies": tallies, "decision": orjson.dumps(plain_decision(propensity=0.25))}
    assert record_fault(record, drawn) is None
    fault = record_fault(record | {"decision": orjson.dumps(plain_decision(propensity=0.3))}, drawn)
    assert fault is not None
    assert fault.where == "tallies"


def test_only_a_whole_record_of_the_rules_at_hand_that_was_not_erased_can_be_judged():
    record = {"attribution": POLICY.statistics_hash, "is_erased": False, "outcomes_before": -1}
    assert can_be_judged(record, POLICY)
    assert not can_be_judged(record, None)
    assert not can_be_judged(record | {"attribution": "ab"}, POLICY)
    assert not can_be_judged(record | {"is_erased": True}, POLICY)
    assert not can_be_judged(record | {"outcomes_before": 0}, POLICY)


@pytest.mark.parametrize(("count", "expected"), [(1, [(1, 2)]), (3, [(0, 1), (1, 2), (1, 5)]), (100, None)])
def test_a_sample_is_spread_evenly_over_all_offsets(count, expected):
    ends = {0: 3, 1: 7, 2: 0}
    everything = [(partition, offset) for partition, end in ends.items() for offset in range(end)]
    # The middles of three stretches of ten offsets: 1, 5 and 8, of which 3 lie in partition 0.
    assert spread(ends, count) == (expected or everything)


def test_there_is_nothing_to_look_at_below_no_offset():
    assert spread({}, 5) == []
