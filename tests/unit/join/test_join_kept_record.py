"""JOIN keeps of a decision, whoever sent it, what its policy declares."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.codec.wire import decode_event, read_accepted
from pipeline.events import Decision
from pipeline.join.kept_record import bound_kept, kept_record
from pipeline.join.progress import DECISIONS
from tests.samples import define, plain_decision, plain_policy
from tests.traffic import as_avro
from tests.unit.join.test_join_step import Bench

JANE = "jane.doe@example.org"


def encoded(plain: dict[str, Any], encoding: str) -> bytes:
    return as_avro(DECISIONS, plain) if encoding == "avro" else orjson.dumps(plain)


@pytest.mark.parametrize("encoding", ["json", "avro"])
@pytest.mark.parametrize(
    "extra",
    [
        {"context": {"visits": 3.0, "email": JANE}},
        {"context": {"visits": 3.0, JANE: 1.0}},
        {"context": {"visits": 3.0, "tier": JANE}},
        {"context": {"visits": JANE}},
        {"candidates": {"sku": {JANE: 1.0}}},
        {"subject_hash": JANE},
    ],
)
def test_neither_row_nor_ledger_has_what_the_policy_does_not_declare(extra: dict[str, Any], encoding: str) -> None:
    bench = Bench(plain_policy(settle="optimistic"))
    bench.read(DECISIONS, encoded(plain_decision("x", 0, **extra), encoding))
    (row,) = bench.actions.stored.values()
    (reward,) = bench.rewards
    assert JANE.encode() not in row + reward["decision"]
    assert read_accepted(reward["decision"]).action_id == "x"


def test_fields_of_a_producers_own_are_not_kept_and_lists_are_no_values() -> None:
    bench = Bench(plain_policy(settle="optimistic", logged=["seen"]))
    plain = plain_decision("x", 0, email=JANE, context={"visits": 3, "seen": [JANE, None]})
    bench.read(DECISIONS, plain)
    (row,) = bench.actions.stored.values()
    assert JANE.encode() not in row
    assert read_accepted(bench.rewards[0]["decision"]).context == {"visits": 3.0}


@pytest.mark.parametrize("encoding", ["json", "avro"])
def test_what_is_all_declared_is_kept_byte_for_byte(encoding: str) -> None:
    bench = Bench(plain_policy(settle="optimistic", logged=["page"]))
    raw = encoded(plain_decision("x", 0, context={"visits": 3.0, "page": "/sale"}), encoding)
    bench.read(DECISIONS, raw)
    assert bench.rewards[0]["decision"] == raw


def test_a_repeat_is_a_duplicate_whatever_was_left_out_and_one_that_differs_in_what_was_kept_is_not() -> None:
    bench = Bench()
    bench.decide(0, context={"visits": 3, "email": JANE})
    bench.decide(0, context={"visits": 3, "email": "john@example.org"})
    bench.decide(0, context={"visits": 3})
    assert (bench.count("decisions.duplicate"), bench.reasons) == (2, [])
    bench.decide(0, context={"visits": 4, "email": JANE})
    assert bench.reasons == ["conflicting-duplicate"]


def test_a_record_that_is_written_longer_stays_in_the_bound() -> None:
    arms = [str(number) for number in range(1_000)]
    plain = plain_decision("x", 0, subject_hash="5e1f", arm="0", propensity=1.0, eligible=arms)
    plain |= {"probabilities": [1] + [0] * 999, "context": {"visits": 1}}
    raw = orjson.dumps(plain)
    decision = decode_event(raw, "decision")
    assert isinstance(decision, Decision)
    written = kept_record(raw, decision, define(plain_policy()).declared)
    assert len(raw) < len(written) <= bound_kept(raw, decision)
