"""The ledger's records by hand are what Avro's library writes and reads."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import avro, reward, schemas
from pipeline.codec.reward import Reward, RewardReader, RewardWriter, read_names
from pipeline.codec.reward_columns import read_columns
from pipeline.errors import DecodeError

LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70) | st.integers(1_700_000_000_000, 1_700_000_000_009)
TEXTS = st.text(max_size=5) | st.sampled_from(["a" * 63, "a" * 64, "ö" * 40])
BLOBS = st.binary(max_size=5) | st.sampled_from([bytes(63), bytes(64), bytes(20_000)])
CREDITS = st.fixed_dictionaries(
    {"outcome_id": TEXTS, "kind": TEXTS, "value": st.floats(allow_nan=False), "occurred_at_ms": LONGS}
)
TALLIES = st.fixed_dictionaries(
    {"row": TEXTS, "width": st.integers(0, 2**31 - 1), "column": st.integers(0, 100), "amount": LONGS}
)
REWARDS = st.fixed_dictionaries(
    {
        "action_id": TEXTS,
        "revision": st.integers(0, 2**62),
        "is_settled": st.booleans(),
        "policy": TEXTS,
        "generation": st.integers(0, 2**31 - 1),
        "segment": TEXTS,
        "arm": TEXTS,
        "reward": LONGS,
        "reward_exponent": st.integers(-1_000, 1_000),
        "context_vector": BLOBS,
        "decided_at_ms": LONGS,
        "bucket": LONGS,
        "expires_at_ms": LONGS,
        "event_time_ms": LONGS,
        "attribution": TEXTS,
        "outcomes": st.lists(CREDITS, max_size=3),
        "outcomes_before": st.just(-1) | st.integers(0, 2**40),
        "decision": BLOBS,
    },
    optional={
        "is_erased": st.booleans(),
        "is_reward_final": st.booleans(),
        "tallies": st.lists(TALLIES, max_size=2),
        "is_analysis": st.booleans(),
        "undecodable": st.just("") | TEXTS,
    },
)

PLAIN: dict[str, Any] = {
    "action_id": "x",
    "revision": 2,
    "is_settled": False,
    "policy": "homepage",
    "generation": 1,
    "segment": "new",
    "arm": "hybrid",
    "reward": 32_768,
    "reward_exponent": 15,
    "context_vector": b"\x00\x10\xfc\xff",
    "decided_at_ms": 1_700_000_000_000,
    "bucket": 19_675,
    "expires_at_ms": 1_700_000_015_000,
    "event_time_ms": 1_700_000_000_100,
    "attribution": "5a" * 32,
    "outcomes": [{"outcome_id": "o", "kind": "click", "value": 1.0, "occurred_at_ms": 1_700_000_000_050}],
    "outcomes_before": -1,
    "decision": b'{"action_id":"x"}',
}


def told(record: dict[str, Any]) -> Reward:
    credited = [
        tuple(one[name] for name in ("outcome_id", "kind", "value", "occurred_at_ms")) for one in record["outcomes"]
    ]
    tallies = [tuple(one[name] for name in ("row", "width", "column", "amount")) for one in record.get("tallies", ())]
    return Reward(**{**record, "outcomes": credited, "tallies": tallies})


def of_fold(record: dict[str, Any]) -> tuple[Any, ...]:
    return (
        record["action_id"],
        (record["policy"], record["generation"], record["segment"], record["arm"]),
        record["bucket"],
        record["revision"],
        record["reward"],
        record["context_vector"],
        record["expires_at_ms"],
        record["event_time_ms"],
        record.get("is_erased", False),
        record.get("is_reward_final", False),
        tuple((one["row"], one["width"], one["column"], one["amount"]) for one in record.get("tallies", ())),
        record.get("is_analysis", False),
        record.get("undecodable", ""),
    )


def test_the_layout_is_that_of_the_current_schema():
    assert schemas.current_schema("reward").fingerprint == reward.LAYOUT


@given(st.lists(REWARDS, min_size=1, max_size=3))
def test_what_is_written_by_hand_is_what_the_library_writes_and_is_read_as_the_library_reads_it(records):
    writer, reader = RewardWriter(), RewardReader()
    for record in records + records:  # the second time out of what was kept
        raw = writer.write(told(record))
        assert raw == avro.encode("reward", record)
        assert reader.read(raw) == of_fold(record)


def test_every_cut_of_a_record_is_refused():
    raw = RewardWriter().write(told(PLAIN))
    for length in range(len(raw)):
        with pytest.raises(DecodeError):
            RewardReader().read(raw[:length])
    with pytest.raises(DecodeError, match="bytes, expected a reward record of"):
        RewardReader().read(raw + b"\0")


def test_outcomes_in_several_blocks_with_their_sizes_are_stepped_over():
    raw = RewardWriter().write(told(PLAIN))
    credit = b"\x02o\x0aclick" + bytes(8) + b"\x00"
    # Avro: a block of count -1 says its size first; 03 is -2 in zigzag, 01 is -1, 0x22 = 34 / 2 = 17 bytes.
    blocks = b"\x01" + bytes([2 * len(credit)]) + credit + b"\x02" + credit + b"\x00"
    plain = avro.encode("reward", PLAIN | {"outcomes": []})
    # The empty array: before a count, a length, the decision, two booleans, no tally, a boolean, an empty text.
    at = len(plain) - len(PLAIN["decision"]) - 8
    assert plain[at] == 0
    assert RewardReader().read(plain[:at] + blocks + plain[at + 1 :]) == RewardReader().read(raw)


def test_a_length_that_leads_backwards_is_refused_instead_of_followed():
    plain = avro.encode("reward", PLAIN | {"outcomes": []})
    at = len(plain) - len(PLAIN["decision"]) - 8
    # A million credits (80 89 7A), the first of which has an outcome_id of -1 bytes (01).
    with pytest.raises(DecodeError, match="a length of -1"):
        RewardReader().read(plain[:at] + b"\x80\x89\x7a\x01" + plain[at + 1 :])


@pytest.mark.parametrize("version", ["reward.1", "reward.2", "reward.3", "reward.4"])
def test_a_released_schema_s_record_is_read_by_the_library(version):
    old = schemas.load_schema(schemas.schemas_folder() / "released" / f"{version}.avsc")
    names = {field["name"] for field in old.parsed["fields"]}
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, old.parsed, {k: v for k, v in PLAIN.items() if k in names})
    raw = avro.MARKER + old.fingerprint + buffer.getvalue()
    assert RewardReader().read(raw) == of_fold(PLAIN)


def test_another_current_schema_is_written_by_the_library(monkeypatch):
    monkeypatch.setattr(reward, "LAYOUT", b"another!")
    assert RewardWriter().write(told(PLAIN)) == avro.encode("reward", PLAIN)


def in_columns(raws: list[bytes]) -> list[tuple[Any, ...] | None]:
    """What `read_columns` says of each record, None where it leaves it to the other reader."""
    c = read_columns(raws)
    names = [read_names(chunk) if plain else None for chunk, plain in zip(c.names, c.is_plain, strict=True)]
    numbers = zip(
        *(a.tolist() for a in (c.bucket, c.revision, c.reward, c.expires_at_ms, c.event_time_ms)), strict=True
    )
    return [
        (action_id.decode(), name, bucket, revision, of, vector, expires, time, False, False, (), False, "")
        if plain
        else None
        for plain, action_id, name, vector, (bucket, revision, of, expires, time) in zip(
            c.is_plain, c.action_ids, names, c.vectors, numbers, strict=True
        )
    ]


@given(st.lists(REWARDS, min_size=1, max_size=5))
def test_columns_say_of_a_record_what_the_reader_says_or_leave_it(records):
    raws = [avro.encode("reward", record) for record in records]
    for record, seen in zip(records, in_columns(raws), strict=True):
        assert seen in (None, of_fold(record))


def test_columns_hold_what_most_records_are():
    raws = [avro.encode("reward", {**PLAIN, "outcomes": PLAIN["outcomes"] * n, "action_id": "y" * n}) for n in range(4)]
    assert None not in in_columns(raws)


@given(st.lists(REWARDS, min_size=1, max_size=3), st.data())
def test_columns_leave_damaged_records_to_the_reader(records, data):
    raws = [bytearray(avro.encode("reward", record)) for record in [*records, PLAIN]]
    at = data.draw(st.integers(0, len(raws) - 1))
    place = data.draw(st.integers(0, len(raws[at]) - 1))
    if data.draw(st.booleans()):
        raws[at][place] = data.draw(st.integers(0, 255))
    else:
        raws[at] = raws[at][:place]
    damaged = bytes(raws[at])
    seen = in_columns([bytes(raw) for raw in raws])[at]
    assert seen is None or seen == RewardReader().read(damaged)
