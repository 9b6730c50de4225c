"""What would become of sample records, said by JOIN's own functions."""

from __future__ import annotations

import orjson
import pytest

from pipeline.codec import avro
from pipeline.events import decision_from
from pipeline.join.step import Limits
from pipeline.policy.book import PolicyBook
from pipeline.policy.parsing.parse import parse_policy
from pipeline.producers.check import Verdict, judge, records_in
from tests.samples import BASKET, CLICK, linear_policy, plain_decision, plain_outcome, plain_policy

NOW_MS = 1_790_000_000_000


def judged(*records: object, policy: dict | None = None) -> list[Verdict]:
    book = PolicyBook()
    book.put(parse_policy(policy or plain_policy(outcomes=(CLICK, BASKET), combine="max"), "p"))
    return judge([r if isinstance(r, bytes) else orjson.dumps(r) for r in records], book, NOW_MS, Limits())


def fates(*records: object) -> list[tuple[str, str]]:
    return [(verdict.fate, verdict.reason) for verdict in judged(*records)]


def test_an_outcome_is_credited_to_its_decision_wherever_it_stands() -> None:
    outcome, decision = plain_outcome("a-1", NOW_MS + 1), plain_decision("a-1", NOW_MS)
    for records in ([outcome, decision], [decision, outcome]):
        assert sorted(fates(*records)) == [("credited", ""), ("open", "")]
    of_outcome = judged(outcome, decision)[0]
    assert of_outcome.record == "outcome"
    assert "credited to homepage" in of_outcome.detail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"policy": "hompage"}, "unknown-policy"),
        ({"generation": 9}, "unknown-generation"),
        ({"arm": "c", "eligible": ["c"], "probabilities": [1.0], "propensity": 1.0}, "unknown-arm"),
        ({"propensity": 1.5}, "propensity-out-of-range"),
        ({"decided_at_ms": NOW_MS // 1_000}, "out-of-range"),
        ({"decided_at_ms": "today"}, "wrong-type"),
    ],
)
def test_a_fault_of_a_decision_is_named_as_a_worker_names_it(change: dict, reason: str) -> None:
    (verdict,) = judged(plain_decision("a-1", NOW_MS) | change)
    assert (verdict.fate, verdict.reason) == ("rejected", reason)
    assert not verdict.counts
    assert verdict.detail


def test_a_time_in_seconds_is_said_to_look_like_seconds() -> None:
    (verdict,) = judged(plain_decision("a-1", NOW_MS // 1_000))
    assert "seconds" in verdict.detail


def test_a_kind_or_value_that_no_policy_counts_is_a_doubt_where_its_decision_is_not_known() -> None:
    (typo,) = judged(plain_outcome("a-9", NOW_MS) | {"kind": "clik"})
    assert (typo.fate, typo.counts) == ("awaiting-decision", True)
    assert "unknown-outcome-kind" in typo.doubts[0]
    assert "click" in typo.doubts[0]
    (much,) = judged(plain_outcome("a-9", NOW_MS) | {"kind": "basket", "value": 99.0})  # bounds are -3 to 8
    assert "value-out-of-bounds" in much.doubts[0]
    assert judged(plain_outcome("a-9", NOW_MS))[0].doubts == ()


def test_the_same_is_a_refusal_where_its_decision_is_known() -> None:
    decision = plain_decision("a-1", NOW_MS)
    assert fates(decision, plain_outcome("a-1", NOW_MS) | {"kind": "clik"})[1] == ("rejected", "unknown-outcome-kind")
    # The window of a click is 10 s.
    late = judged(decision, plain_outcome("a-1", NOW_MS + 10_001))[1]
    assert (late.fate, late.counts) == ("outside-window", False)
    early = judged(decision, plain_outcome("a-1", NOW_MS - 1))[1]
    assert (early.fate, early.counts) == ("before-decision", False)


def test_an_old_decision_is_accepted_by_itself_and_doubted() -> None:
    # Its window of 10 s and grace of 5 s are over.
    (verdict,) = judged(plain_decision("a-1", NOW_MS - 16_000))
    assert verdict.fate == "open"
    assert "too-late" in verdict.doubts[0]


def test_avro_says_itself_what_it_is() -> None:
    decision = avro.encode("decision", decision_from(plain_decision("a-1", NOW_MS))._asdict())
    outcome = avro.encode("outcome", plain_outcome("a-1", NOW_MS + 1))
    assert [(v.record, v.fate) for v in judged(outcome, decision)] == [("outcome", "credited"), ("decision", "open")]


def test_bytes_that_are_nothing_are_refused_with_a_reason() -> None:
    assert [v.reason for v in judged(b"\xc3\x00nothing", b"{", b"\x00\x00\x00\x00\x07x")] == [
        "not-decodable",
        "not-decodable",
        "unknown-fingerprint",
    ]


def test_a_context_that_can_not_be_encoded_is_counted_as_in_join_and_said_to_teach_nothing() -> None:
    record = plain_decision("a-1", NOW_MS) | {"context": {"x": 5.0, "y": 1.0}}
    (verdict,) = judged(record, policy=linear_policy())
    assert (verdict.fate, verdict.reason) == ("open", "")
    assert "reported and not learned from: feature-out-of-bounds: x" in verdict.doubts[0]


def test_a_file_is_one_record_a_list_or_lines() -> None:
    one = b'{\n  "a": 1\n}\n'
    assert records_in(one) == [one.strip()]
    assert records_in(b'[{"a":1},{"b":2}]') == [b'{"a":1}', b'{"b":2}']
    assert records_in(b'{"a":1}\n\n{"b":2}\n') == [b'{"a":1}', b'{"b":2}']
    assert records_in(b"\xc3\x01\n\n") == [b"\xc3\x01\n\n"]
    assert records_in(b"\xef\xbb\xbf{}") == [b"{}"]
