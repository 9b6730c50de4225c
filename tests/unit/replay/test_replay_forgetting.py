"""Which erasures are asked for, with what, and when a person counts as forgotten."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.codec import avro
from pipeline.codec.wire import decode_event
from pipeline.events import Decision
from pipeline.replay.erasure.forgetting import Forgetting, decision_of
from tests.samples import plain_decision
from tests.traffic import as_avro


def ledger(action_id: str = "x", **others: Any) -> bytes:
    fields = {
        "action_id": action_id,
        "revision": 2,
        "is_settled": True,
        "policy": "homepage",
        "generation": 1,
        "segment": "other",
        "arm": "a",
        "reward": 7,
        "reward_exponent": 15,
        "context_vector": b"\x01\x00",
        "decided_at_ms": 0,
        "bucket": 3,
        "expires_at_ms": 100,
        "event_time_ms": 50,
        "attribution": "cd",
        "outcomes": [],
        "decision": b"",
    }
    return avro.encode("reward", fields | others)


ERASED = {"revision": 1 << 62, "is_erased": True, "reward": 0}


def of(*action_ids: str) -> Forgetting:
    forgetting = Forgetting()
    for action_id in action_ids:
        decision = decode_event(orjson.dumps(plain_decision(action_id, 0)), "decision", {})
        assert isinstance(decision, Decision)
        forgetting.find(2, decision)
    return forgetting


@pytest.mark.parametrize("subject", ["5e1f", 'a "quoted" one', "\x1f"])
def test_a_subject_s_decisions_are_found_in_either_encoding_and_others_are_not(subject):
    plain = plain_decision("x", 0, subject_hash=subject)
    for raw in (orjson.dumps(plain), as_avro("decisions", plain), orjson.dumps(plain).replace(b"5e", b"\\u0035e")):
        found = decision_of(raw, subject, {})
        assert found is not None
        assert found.action_id == "x"
        assert decision_of(raw, "another", {}) is None
    for raw in (None, b"", b"\x8f5e1f\\", orjson.dumps(plain | {"subject_hash": None, "arm": subject})):
        assert decision_of(raw, subject, {}) is None


def test_an_erasure_carries_what_the_ledger_says_and_whether_that_can_still_change():
    forgetting = of("x", "y", "z")
    forgetting.read(2, [(0, ledger("x")), (1, ledger("y", expires_at_ms=60)), (2, ledger("w", event_time_ms=61))])
    x, y, z = (one.erasure.counted for one in forgetting.ask())
    assert x is not None
    assert (x.reward, x.context_vector, x.bucket, x.is_final) == (7, b"\x01\x00", 3, False)
    assert y is not None
    assert y.is_final
    assert z is None
    assert forgetting.ask() == []
    assert (forgetting.remaining, forgetting.counting) == (3, 2)


def test_what_expired_on_the_way_is_asked_for_again():
    forgetting = of("x")
    forgetting.read(2, [(0, ledger())])
    forgetting.ask()
    forgetting.read(2, [(1, ledger("w", event_time_ms=101)), (2, ledger(**ERASED))])
    (asked,) = forgetting.ask()
    assert asked.erasure.counted is not None
    assert asked.erasure.counted.is_final
    forgetting.read(2, [(3, ledger(**ERASED | {"reward": 7, "is_reward_final": True}))])
    assert (forgetting.remaining, forgetting.counting, forgetting.taken_back) == (0, 0, 1)


def test_what_an_earlier_run_has_erased_is_not_asked_for_again():
    forgetting = of("x")
    forgetting.read(2, [(0, ledger()), (1, ledger(**ERASED))])
    assert forgetting.ask() == []
    assert (forgetting.remaining, forgetting.taken_back) == (0, 1)


def test_an_answer_to_somebody_else_is_none_to_us():
    """It came before the decision was sent again, say: what was refused then may be open now."""
    forgetting = of("x")
    never = ERASED | {"expires_at_ms": 0}
    forgetting.read(2, [(0, ledger("w", event_time_ms=10)), (1, ledger(**never))])
    assert len(forgetting.ask()) == 1
    assert forgetting.remaining == 1
    forgetting.read(2, [(2, ledger(**never))])
    assert (forgetting.remaining, forgetting.taken_back) == (0, 0)


def test_an_erasure_is_written_as_its_schema_says():
    forgetting = of("x")
    forgetting.read(2, [(0, ledger())])
    (asked,) = forgetting.ask()
    assert asked.partition == 2
    assert decode_event(asked.value, "decision", {}) == asked.erasure._replace(tallies=[])


def test_an_expired_decision_of_the_analysis_group_is_erased_without_taking_anything_back():
    forgetting = of("x")
    forgetting.read(2, [(0, ledger(is_analysis=True)), (1, ledger("y", event_time_ms=101))])
    (asked,) = forgetting.ask()
    # LEARN would subtract what is told, and it never added it.
    assert asked.erasure.counted is None
    forgetting.read(2, [(2, ledger(**ERASED))])
    assert (forgetting.remaining, forgetting.taken_back) == (0, 0)
