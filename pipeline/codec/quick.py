"""JSON records that are as they should be, checked while they are decoded: a third of the careful way's time.

What is not accepted here is not refused: it goes the careful way (`codec/wire.py`, `events.py`), which accepts more
(fields of the producer's own) and says what is wrong. What is accepted here, the careful way accepts as the same event;
a test holds the two against each other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from pipeline.errors import InvalidRecordError
from pipeline.events import (
    MAX_ID_CHARACTERS,
    MAX_TIME_MS,
    UNDECODABLE_REASONS,
    Decision,
    Event,
    Outcome,
    check_probabilities,
)

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
_TimeMs = Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# The careful way reads integers beyond these as floats.
_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_GridInteger = Annotated[int, Meta(ge=-32767, le=32767)]


# Without the collector's bookkeeping: none of these refers to what refers to it.
class _Decision(Struct, forbid_unknown_fields=True, gc=False):
    action_id: _Id
    policy: _Id
    segment: _Id
    arm: _Id
    propensity: Annotated[float, Meta(gt=0.0, le=1.0)]
    decided_at_ms: _TimeMs
    generation: _Count = 1
    eligible: list[str] = []
    probabilities: list[float] = []
    context: dict[str, _Integer | float | str | bool] = {}
    context_vector: list[_GridInteger] = []
    schema_hash: str = ""
    snapshot_version: _Count = 0
    snapshot_id: str = ""
    subject_hash: str | None = None
    reason: Literal["policy", "fallback", "holdout"] = "policy"
    guardrails: tuple[str, ...] = ()
    candidates: dict[str, dict[str, float]] = {}
    is_analysis: bool = False
    undecodable: str = ""


class _Outcome(Struct, forbid_unknown_fields=True, gc=False):
    outcome_id: _Id
    action_id: _Id
    kind: _Id
    occurred_at_ms: _TimeMs
    value: float = 1.0


_read_decision = Decoder(_Decision).decode
_read_outcome = Decoder(_Outcome).decode


def _decision(raw: bytes) -> Decision | None:
    try:
        fields = _read_decision(raw)
        if fields.undecodable and fields.undecodable not in UNDECODABLE_REASONS:
            return None
        if fields.probabilities:
            check_probabilities(fields.eligible, fields.probabilities, fields.arm, fields.propensity)
    except (DecodeError, UnicodeDecodeError, InvalidRecordError):
        return None
    vector = fields.context_vector
    return Decision(
        fields.action_id,
        fields.policy,
        fields.generation,
        fields.segment,
        fields.arm,
        fields.propensity,
        fields.eligible,
        fields.probabilities,
        fields.context,
        struct.pack(f"<{len(vector)}h", *vector) if vector else b"",
        fields.schema_hash,
        fields.decided_at_ms,
        fields.snapshot_version,
        fields.snapshot_id,
        fields.subject_hash,
        fields.reason,
        fields.guardrails,
        fields.candidates,
        fields.is_analysis,
        fields.undecodable,
    )


def _outcome(raw: bytes) -> Outcome | None:
    try:
        fields = _read_outcome(raw)
    except (DecodeError, UnicodeDecodeError):
        return None
    return Outcome(fields.outcome_id, fields.action_id, fields.kind, fields.value, fields.occurred_at_ms)


QUICK: Mapping[str, Callable[[bytes], Event | None]] = {"decision": _decision, "outcome": _outcome}
"""By name: bytes → the event, None where only the careful way can tell."""
