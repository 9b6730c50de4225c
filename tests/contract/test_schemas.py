"""Every schema and record that was ever released can be read by this code.

`fingerprints.json` lists each schema's released versions, the current one last. `golden_records.json` holds records
as the release that introduced a version wrote them. Both only grow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec import avro
from pipeline.codec.schemas import current_schema, load_schema, schemas_by_fingerprint, schemas_folder
from tests.contract.avro_writer import fingerprint, single_object

HERE = Path(__file__).parent
RELEASED: dict[str, list[str]] = json.loads((HERE / "fingerprints.json").read_text("utf-8"))
GOLDEN: dict[str, str] = json.loads((HERE / "golden_records.json").read_text("utf-8"))
FILES = sorted(schemas_folder().rglob("*.avsc"))

# What the golden records say; one uses every field, `…-least` the emptiest values.
RECORDS: dict[str, dict[str, Any]] = {
    "decision": {
        "action_id": "3f2a-äöü",
        "policy": "homepage",
        "generation": 2,
        "segment": "new",
        "arm": "hybrid",
        "propensity": 0.625,
        "eligible": ["hybrid", "bestsellers"],
        "probabilities": [0.625, 0.375],
        "context": {"age": 31.5, "device": "mobile", "member": True},
        "context_vector": bytes.fromhex("0010fcff"),
        "schema_hash": "0123456789abcdef",
        "decided_at_ms": 1_700_000_000_123,
        "snapshot_version": 17,
        "snapshot_id": "ab" * 32,
        "subject_hash": "5e1f",
        "reason": "policy",
    },
    "decision-least": {
        "action_id": "x",
        "policy": "p",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "propensity": 1.0,
        "eligible": [],
        "probabilities": [],
        "context": {},
        "context_vector": b"",
        "schema_hash": "",
        "decided_at_ms": 0,
        "snapshot_version": 0,
        "snapshot_id": "",
        "subject_hash": None,
        "reason": "fallback",
    },
    "decision-guardrails": {
        "action_id": "y",
        "policy": "homepage",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "propensity": 1.0,
        "eligible": ["a", "b"],
        "probabilities": [1.0, 0.0],
        "context": {},
        "context_vector": b"",
        "schema_hash": "",
        "decided_at_ms": 1,
        "snapshot_version": 3,
        "snapshot_id": "ab" * 32,
        "subject_hash": "5e1f",
        "reason": "holdout",
        "guardrails": ["eligibility", "holdout"],
    },
    "decision-candidates": {
        "action_id": "z",
        "policy": "homepage",
        "generation": 1,
        "segment": "s",
        "arm": "sku-2",
        "propensity": 0.75,
        "eligible": ["a", "sku-2"],
        "probabilities": [0.25, 0.75],
        "context": {},
        "context_vector": bytes.fromhex("0010fcff"),
        "schema_hash": "0123456789abcdef",
        "decided_at_ms": 1,
        "snapshot_version": 3,
        "snapshot_id": "ab" * 32,
        "subject_hash": None,
        "reason": "policy",
        "guardrails": [],
        "candidates": {"sku-2": {"is_video": 1.0, "price": -0.25}},
    },
    "decision-analysis": {
        "action_id": "w",
        "policy": "homepage",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "propensity": 1.0,
        "eligible": [],
        "probabilities": [],
        "context": {},
        "context_vector": b"",
        "schema_hash": "",
        "decided_at_ms": 1,
        "snapshot_version": 3,
        "snapshot_id": "ab" * 32,
        "subject_hash": "5e1f",
        "reason": "policy",
        "guardrails": [],
        "candidates": {},
        "is_analysis": True,
    },
    "decision-undecodable": {
        "action_id": "u",
        "policy": "homepage",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "propensity": 0.5,
        "eligible": [],
        "probabilities": [],
        "context": {},
        "context_vector": b"",
        "schema_hash": "",
        "decided_at_ms": 1,
        "snapshot_version": 3,
        "snapshot_id": "ab" * 32,
        "subject_hash": "5e1f",
        "reason": "fallback",
        "guardrails": [],
        "candidates": {},
        "is_analysis": False,
        "undecodable": "missing-feature",
    },
    "outcome": {
        "outcome_id": "o-1",
        "action_id": "3f2a-äöü",
        "kind": "purchase",
        "value": -12.75,
        "occurred_at_ms": 1_700_000_060_000,
    },
    "tick": {"event_time_ms": 1_700_000_120_000},
    "forwarded": {
        "source_partition": 3,
        "source_offset": 17,
        "record_timestamp_ms": 1_700_000_120_000,
        "is_broker_time": True,
        "record_key": b"x1",
        "raw": b'{"action_id": "x1"}',
    },
    "tick-clock": {"event_time_ms": 1_700_000_120_000, "clock_ms": 1_700_000_180_000},
    "reward": {
        "action_id": "3f2a-äöü",
        "revision": 3,
        "is_settled": True,
        "policy": "homepage",
        "generation": 2,
        "segment": "new",
        "arm": "hybrid",
        "reward": -32_768,
        "reward_exponent": 6,
        "context_vector": bytes.fromhex("0010fcff"),
        "decided_at_ms": 1_700_000_000_123,
        "bucket": 19_675,
        "expires_at_ms": 1_700_086_400_123,
        "event_time_ms": 1_700_000_060_000,
        "attribution": "cd" * 32,
        "outcomes": [
            {"outcome_id": "o-1", "kind": "purchase", "value": -12.75, "occurred_at_ms": 1_700_000_060_000},
            {"outcome_id": "o-2", "kind": "click", "value": 1.0, "occurred_at_ms": 1_700_000_000_500},
        ],
        "decision": b'{"action_id":"3f2a"}',
    },
    "reward-erased": {
        "action_id": "3f2a-äöü",
        "revision": 1 << 62,
        "is_settled": True,
        "policy": "homepage",
        "generation": 2,
        "segment": "new",
        "arm": "hybrid",
        "reward": -32_768,
        "reward_exponent": 6,
        "context_vector": bytes.fromhex("0010fcff"),
        "decided_at_ms": 1_700_000_000_123,
        "bucket": 19_675,
        "expires_at_ms": 1_700_086_400_123,
        "event_time_ms": 1_700_186_400_123,
        "attribution": "cd" * 32,
        "outcomes": [],
        "decision": b"",
        "is_erased": True,
        "is_reward_final": True,
    },
    "reward-tallied": {
        "action_id": "3f2a-äöü",
        "revision": 2,
        "is_settled": False,
        "policy": "homepage",
        "generation": 2,
        "segment": "new",
        "arm": "hybrid",
        "reward": 32_768,
        "reward_exponent": 15,
        "context_vector": b"",
        "decided_at_ms": 1_700_000_000_123,
        "bucket": 19_675,
        "expires_at_ms": 1_700_086_400_123,
        "event_time_ms": 1_700_000_060_000,
        "attribution": "cd" * 32,
        "outcomes": [],
        "decision": b"{}",
        "is_erased": False,
        "is_reward_final": False,
        "tallies": [{"row": "delay:click", "width": 44, "column": 3, "amount": -1}],
    },
    "reward-analysis": {
        "action_id": "w",
        "revision": 1,
        "is_settled": False,
        "policy": "homepage",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "reward": 7,
        "reward_exponent": 15,
        "context_vector": b"",
        "decided_at_ms": 1,
        "bucket": 0,
        "expires_at_ms": 2,
        "event_time_ms": 1,
        "attribution": "cd" * 32,
        "outcomes": [],
        "decision": b"{}",
        "is_erased": False,
        "is_reward_final": False,
        "tallies": [],
        "is_analysis": True,
    },
    "reward-increment": {
        "action_id": "v",
        "revision": 4,
        "is_settled": False,
        "policy": "homepage",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "reward": 7,
        "reward_exponent": 15,
        "context_vector": bytes.fromhex("0010fcff"),
        "decided_at_ms": 1,
        "bucket": 0,
        "expires_at_ms": 2,
        "event_time_ms": 1,
        "attribution": "cd" * 32,
        "outcomes": [{"outcome_id": "o-3", "kind": "purchase", "value": -12.75, "occurred_at_ms": 1}],
        "outcomes_before": 2,
        "decision": b"",
        "is_erased": False,
        "is_reward_final": False,
        "tallies": [],
        "is_analysis": False,
    },
    "reward-undecodable": {
        "action_id": "u",
        "revision": 1,
        "is_settled": False,
        "policy": "homepage",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "reward": 7,
        "reward_exponent": 15,
        "context_vector": b"",
        "decided_at_ms": 1,
        "bucket": 0,
        "expires_at_ms": 2,
        "event_time_ms": 1,
        "attribution": "cd" * 32,
        "outcomes": [],
        "outcomes_before": -1,
        "decision": b"{}",
        "is_erased": False,
        "is_reward_final": False,
        "tallies": [],
        "is_analysis": False,
        "undecodable": "missing-feature",
    },
    "erasure-tallied": {
        "action_id": "x",
        "policy": "p",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "decided_at_ms": 0,
        "counted": None,
        "tallies": [{"row": "delay:click", "width": 44, "column": 3, "amount": 1}],
    },
    "statistics-tallied": {
        "policy": "homepage",
        "generation": 2,
        "segment": "new",
        "arm": "hybrid",
        "bucket": -1,
        "source_partition": 3,
        "ledger_offset": 1_000_000,
        "dimension": -2,
        "sums": bytes(8) + b"\x01" + bytes(7),
        "tally": "delay:click",
    },
    "erasure": {
        "action_id": "3f2a-äöü",
        "policy": "homepage",
        "generation": 2,
        "segment": "new",
        "arm": "hybrid",
        "decided_at_ms": 1_700_000_000_123,
        "counted": {
            "reward": -32_768,
            "reward_exponent": 6,
            "context_vector": bytes.fromhex("0010fcff"),
            "bucket": 19_675,
            "expires_at_ms": 1_700_086_400_123,
            "attribution": "cd" * 32,
            "is_final": True,
        },
    },
    "erasure-least": {
        "action_id": "x",
        "policy": "p",
        "generation": 1,
        "segment": "s",
        "arm": "a",
        "decided_at_ms": 0,
        "counted": None,
    },
    "forgotten": {
        "subject_sha256": "ab" * 32,
        "actions": 7,
        "taken_back": 5,
        "requested_at_ms": 1_700_000_000_000,
        "finished_at_ms": 1_700_000_002_500,
    },
    "statistics": {
        "policy": "homepage",
        "generation": 2,
        "segment": "new",
        "arm": "hybrid",
        "bucket": 19_675,
        "source_partition": 3,
        "ledger_offset": 1_000_000,
        "dimension": 0,
        "sums": b"".join(number.to_bytes(8, "little", signed=True) for number in (2, -3, 5)),
    },
    "statistics_mark": {
        "policy": "homepage",
        "generation": 2,
        "source_partition": 3,
        "ledger_offset": 1_000_000,
        "event_time_ms": -1,
    },
    "snapshot": {
        "policy": "homepage",
        "version": 17,
        "parent": "ab" * 32,
        "generation": 2,
        "definition_hash": "cd" * 32,
        "definition": '{"name":"homepage"}',
        "schema_hash": "0123456789abcdef",
        "ledger_offsets": [{"partition": 0, "offset": 0}, {"partition": 1, "offset": 1_000_000}],
        "event_time_ms": 1_700_000_060_000,
        "posterior_sha256": "ef" * 32,
        "segments": [
            {
                "segment": "new",
                "arms": ["bestsellers", "hybrid"],
                "counts": [0, 2],
                "reward_sums": [0, -3],
                "parameters": [{"name": "alpha", "shape": [2], "data": bytes(16)}],
            }
        ],
    },
    "snapshot-again": {
        "policy": "homepage",
        "version": 18,
        "parent": "ab" * 32,
        "generation": 1,
        "definition_hash": "cd" * 32,
        "definition": '{"name":"homepage"}',
        "schema_hash": "",
        "ledger_offsets": [{"partition": 0, "offset": 7}],
        "event_time_ms": 0,
        "posterior_sha256": "ef" * 32,
        "segments": [],
        "rollback_of": 12,
    },
    "directive": {
        "policy": "homepage",
        "number": 1_700_000_000_400,
        "action": "rollback",
        "version": 12,
        "content": bytes(range(256)),
    },
    "directive-least": {"policy": "p", "number": 1, "action": "unpin", "version": 0, "content": b""},
    "snapshot-exposures": {
        "policy": "homepage",
        "version": 18,
        "parent": "ab" * 32,
        "generation": 2,
        "definition_hash": "cd" * 32,
        "definition": '{"name":"homepage"}',
        "schema_hash": "",
        "ledger_offsets": [],
        "event_time_ms": 0,
        "posterior_sha256": "ef" * 32,
        "segments": [],
        "rollback_of": 0,
        "exposures": [{"window_ms": 604_800_000, "until_ms": 1_700_000_060_000, "counts": [0, 1_000_000]}],
        "base_plan": "",
        "base_cuts": [],
    },
    "snapshot-replayed": {
        "policy": "homepage",
        "version": 18,
        "parent": "ab" * 32,
        "generation": 3,
        "definition_hash": "cd" * 32,
        "definition": '{"name":"homepage"}',
        "schema_hash": "0123456789abcdef",
        "ledger_offsets": [{"partition": 0, "offset": 7}],
        "event_time_ms": 1_700_000_060_000,
        "posterior_sha256": "ef" * 32,
        "segments": [],
        "rollback_of": 0,
        "exposures": [],
        "base_plan": '{"source":"events"}',
        "base_cuts": [
            [{"topic": "decisions", "partition": 0, "offset": 0}, {"topic": "outcomes", "partition": 0, "offset": 0}],
            [{"topic": "decisions", "partition": 0, "offset": 9}, {"topic": "outcomes", "partition": 0, "offset": 4}],
        ],
    },
    "snapshot-parted": {
        "policy": "homepage",
        "version": 19,
        "parent": "ab" * 32,
        "generation": 3,
        "definition_hash": "cd" * 32,
        "definition": '{"name":"homepage"}',
        "schema_hash": "0123456789abcdef",
        "ledger_offsets": [{"partition": 0, "offset": 9}],
        "event_time_ms": 1_700_000_060_000,
        "posterior_sha256": "ef" * 32,
        "segments": [],
        "rollback_of": 0,
        "exposures": [],
        "base_plan": "",
        "base_cuts": [],
        "parts": [
            {"sha256": "01" * 32, "size_bytes": 262_144, "rewards_counted": 1_000_000},
            {"sha256": "23" * 32, "size_bytes": 9, "rewards_counted": 0},
        ],
    },
    "snapshot_part": {
        "segments": [
            {
                "segment": "new",
                "arms": ["hybrid"],
                "counts": [1],
                "reward_sums": [-32_768],
                "parameters": [
                    {"name": "covariance", "shape": [1, 2, 2], "data": bytes(24), "is_symmetric": True},
                    {"name": "theta", "shape": [1, 2], "data": bytes(16), "is_symmetric": False},
                ],
            },
            {"segment": "other", "arms": [], "counts": [], "reward_sums": [], "parameters": []},
        ],
    },
    "statistics_base": {
        "policy": "homepage",
        "generation": 3,
        "plan": '{"source":"ledger"}',
        "cuts": [
            [{"topic": "rewards", "partition": 0, "offset": 0}],
            [{"topic": "rewards", "partition": 0, "offset": 1_000_000}],
        ],
        "first_source": -3,
        "sources": 2,
        "event_time_ms": -1,
    },
    "audit": {
        "act_id": "0a" * 16,
        "state": "failed",
        "at_ms": 1_700_000_000_123,
        "actor": "ada@desk",
        "command": "policy kill",
        "policy": "homepage",
        "target": "switches",
        "before": '{"all arms":"on"}',
        "after": '{"all arms":"off"}',
        "error": "not acknowledged",
    },
    "snapshot_outline": {"id": "ab" * 32, "outline": bytes(range(16))},
    "halt": {
        "policy": "homepage-v2",
        "cause": "pause",
        "why": "srm.p_value < 0.001",
        "halted_at_ms": 1_700_000_000_123,
    },
    "switch": {"policy": "homepage", "arm": "hybrid", "is_off": True, "turned_at_ms": 1_700_000_000_123},
    "policy": {"name": "homepage", "generation": 2, "definition": '{"name":"homepage"}'},
    "deployment": {"app_id": "pipeline-2", "takes_over": "pipeline", "begun_at_ms": 1_700_000_000_123},
    "checkpoint": {
        "topic_id": "6f4d7c1e-9b7b-4a51-8f0e-6d6ac4dc0a3b",
        "partition": 3,
        "offset": 1_000_000,
        "event_time_ms": 1_700_000_000_123,
        "previous": "ab" * 32,
        "state": "cd" * 32,
        "parts": 12,
    },
    "checkpoint_part": {"lines": bytes(range(16))},
    "policy-follows": {
        "name": "homepage",
        "generation": 2,
        "definition": '{"name":"homepage"}',
        "follows": "ab" * 32,
    },
    "directive-follows": {
        "policy": "homepage",
        "number": 1_700_000_000_123,
        "action": "pin",
        "version": 7,
        "content": b"",
        "follows": 1_700_000_000_000,
    },
    "dead_letter": {
        "reason": "unknown-arm",
        "detail": "arm 'c' is not one of …",
        "source_topic": "decisions",
        "source_partition": 3,
        "source_offset": 12,
        "record_timestamp_ms": 1_700_000_000_200,
        "record_key": b"3f2a",
        "raw": bytes(range(256)),
    },
    "dead_letter-least": {
        "reason": "empty-record",
        "detail": "",
        "source_topic": "outcomes",
        "source_partition": 0,
        "source_offset": 0,
        "record_timestamp_ms": 0,
        "record_key": None,
        "raw": b"",
    },
    "dead_letter-cut": {
        "reason": "record-too-large",
        "detail": "31457280 bytes, expected at most 1048576 of a decision",
        "source_topic": "decisions",
        "source_partition": 3,
        "source_offset": 12,
        "record_timestamp_ms": 1_700_000_000_200,
        "record_key": b"3f2a",
        "raw": b"xx",
        "raw_bytes": 31_457_280,
        "raw_sha256": "cd" * 32,
        "record_key_bytes": 4,
    },
    "dead_letter_replayed": {
        "source_topic": "decisions",
        "source_partition": 3,
        "source_offset": 12,
        "replayed_at_ms": 1_700_000_000_300,
    },
}


@pytest.mark.parametrize(
    ("schema", "number"),
    [("null", 7195948357588979594), ("int", 8247732601305521295), ("string", -8142146995180207161)],
)
def test_fingerprints_are_those_of_avro_s_own_test_data(schema, number):
    """From share/test/data/schema-tests.txt of the Avro project."""
    assert int.from_bytes(fingerprint(schema), "little", signed=True) == number


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_schema_parses_and_has_the_fingerprint_of_the_specification(path):
    assert load_schema(path).fingerprint == fingerprint(json.loads(path.read_text("utf-8")))


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_a_released_schema_stays_readable(name):
    known = {known.hex() for known in schemas_by_fingerprint()}
    for number, released in enumerate(RELEASED[name], 1):
        assert released in known, (
            f"schemas/{name}.avsc was edited, and version {number} of it ({released}) was released: keep the old text "
            f"under schemas/released/{name}.{number}.avsc, so that what was written with it stays readable"
        )


@pytest.mark.parametrize("name", sorted(path.stem for path in FILES if path.parent == schemas_folder()))
def test_every_current_schema_is_pinned(name):
    current = current_schema(name).fingerprint.hex()
    assert RELEASED.get(name, [""])[-1] == current, (
        f"schemas/{name}.avsc has the fingerprint {current}: add it at the end of {name}'s list in "
        "tests/contract/fingerprints.json, and a record written with it to golden_records.json"
    )


def test_every_released_version_has_a_golden_record():
    written = {bytes.fromhex(golden)[2:10].hex() for golden in GOLDEN.values()}
    assert written == {version for versions in RELEASED.values() for version in versions}


@pytest.mark.parametrize("title", sorted(GOLDEN))
def test_what_a_release_has_written_is_read(title):
    name, record = avro.decode(bytes.fromhex(GOLDEN[title]))
    assert name == title.split("-")[0]
    # A later schema may have more fields, with defaults; none may have changed.
    assert {field: record[field] for field in RECORDS[title]} == RECORDS[title]


@pytest.mark.parametrize("title", sorted(RECORDS))
def test_a_golden_record_is_what_the_specification_says(title):
    golden = bytes.fromhex(GOLDEN[title])
    (path,) = [path for path in FILES if load_schema(path).fingerprint == golden[2:10]]
    assert single_object(json.loads(path.read_text("utf-8")), RECORDS[title]) == golden


@pytest.mark.parametrize("title", sorted(RECORDS))
def test_this_code_writes_what_the_specification_says(title):
    name = title.split("-")[0]
    path = schemas_folder() / f"{name}.avsc"
    record = avro.decode(bytes.fromhex(GOLDEN[title]))[1]
    assert avro.encode(name, record) == single_object(json.loads(path.read_text("utf-8")), record)
