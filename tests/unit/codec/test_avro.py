from __future__ import annotations

import pytest

from pipeline.codec import avro, schemas
from pipeline.codec.schemas import load_schema
from pipeline.errors import DecodeError

OUTCOME = {"outcome_id": "o", "action_id": "x", "kind": "click", "value": 1.0, "occurred_at_ms": 7}


def test_a_record_begins_with_the_marker_and_its_schema_s_fingerprint():
    raw = avro.encode("outcome", OUTCOME)
    assert raw[:2] == b"\xc3\x01"
    assert raw[2:10] == schemas.current_schema("outcome").fingerprint


def test_what_is_encoded_is_decoded():
    assert avro.decode(avro.encode("outcome", OUTCOME)) == ("outcome", OUTCOME)
    assert avro.decode_as("outcome", avro.encode("outcome", OUTCOME)) == OUTCOME


def test_equal_records_have_equal_bytes_whatever_the_order_of_their_fields():
    assert avro.encode("outcome", dict(reversed(OUTCOME.items()))) == avro.encode("outcome", OUTCOME)


def test_decode_as_refuses_another_record_and_another_encoding():
    with pytest.raises(DecodeError) as caught:
        avro.decode_as("reward", avro.encode("outcome", OUTCOME))
    assert caught.value.reason == "unexpected-record"
    with pytest.raises(DecodeError) as caught:
        avro.decode_as("outcome", b"{}")
    assert caught.value.reason == "not-decodable"


@pytest.fixture
def older_outcome(tmp_path, monkeypatch):
    """A released schema of outcomes without a value, beside the current ones."""
    for path in schemas.schemas_folder().rglob("*.avsc"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "released").mkdir()
    old = tmp_path / "released" / "outcome.1.avsc"
    old.write_text(
        """{"type": "record", "name": "Outcome", "namespace": "pipeline", "fields": [
            {"name": "outcome_id", "type": "string"}, {"name": "action_id", "type": "string"},
            {"name": "kind", "type": "string"}, {"name": "occurred_at_ms", "type": "long"}]}"""
    )
    caches = (schemas.schemas_by_fingerprint, schemas.current_schema)
    monkeypatch.setattr(schemas, "schemas_folder", lambda: tmp_path)
    for cached in caches:
        cached.cache_clear()
    yield load_schema(old)
    for cached in caches:
        cached.cache_clear()


def test_a_record_of_a_released_schema_is_read_with_the_current_one_s_defaults(older_outcome):
    # Strings are a zigzag length and their bytes: 02 is 1, 0A is 5; the long 7 is 0E.
    body = b"\x02o\x02x\x0aclick\x0e"
    name, record = avro.decode(avro.MARKER + older_outcome.fingerprint + body)
    assert (name, record) == ("outcome", OUTCOME)
