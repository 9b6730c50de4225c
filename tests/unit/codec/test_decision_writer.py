from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import avro, decision_writer
from pipeline.codec.decision_writer import encode_decision
from pipeline.events import Decision

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)
NUMBER = st.floats(allow_nan=False)
VALUE = NUMBER | TEXT | st.booleans() | st.integers(-(2**60), 2**60)


def arms_of(count: int) -> list[str]:
    return [f"arm-{number}" for number in range(count)]


DECISION = st.builds(
    lambda count, **fields: Decision(
        eligible=arms_of(count), probabilities=[1.0 / count] * count if count else [], **fields
    ),
    count=st.integers(0, 300),
    action_id=TEXT,
    policy=TEXT,
    generation=st.integers(1, 2**31 - 1),
    segment=TEXT,
    arm=TEXT,
    propensity=NUMBER,
    context=st.dictionaries(TEXT, VALUE, max_size=20)
    | st.dictionaries(st.text(string.ascii_letters), NUMBER, max_size=5),
    context_vector=st.binary(max_size=300),
    schema_hash=TEXT,
    decided_at_ms=st.integers(0, 2**62),
    snapshot_version=st.integers(0, 2**62),
    snapshot_id=TEXT,
    subject_hash=st.none() | TEXT,
    reason=st.sampled_from(["policy", "fallback", "holdout"]),
    guardrails=st.lists(TEXT, max_size=4),
)


def plain(decision: Decision) -> dict[str, Any]:
    return decision._asdict() | {"eligible": list(decision.eligible), "guardrails": list(decision.guardrails)}


@given(DECISION)
def test_it_writes_what_the_schema_says_byte_for_byte(decision: Decision) -> None:
    assert encode_decision(decision) == avro.encode("decision", plain(decision))


def test_a_schema_with_other_fields_is_not_written_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    decision_writer._head.cache_clear()
    schema = decision_writer.current_schema("reward")
    monkeypatch.setattr(decision_writer, "current_schema", lambda _: schema)
    with pytest.raises(decision_writer.StateError, match="this writer knows"):
        decision_writer._head()
