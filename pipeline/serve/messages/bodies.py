"""What HTTP requests carry. Unknown keys are refused: a misspelt `eligible` would change what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Raw, Struct, field

from pipeline.errors import InvalidRecordError
from pipeline.events import ID_RULE, MAX_ID_CHARACTERS, MAX_TIME_MS, MILLISECONDS_FROM, NO_CANDIDATES, is_id, no_id
from pipeline.policy.parsing.arms import MAX_ARMS
from pipeline.policy.parsing.section import is_text
from pipeline.policy.render_value import shown

# A batch's answer holds one vector of probabilities a request: 500 of 100 arms are about 1 MB.
MAX_BATCH = 500
# Their covariance takes the square of their number.
MAX_CANDIDATES = 500

Identifier = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
KEPT_PATTERN = "^[!-?A-~]+$"
KeptIdentifier = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS, pattern=KEPT_PATTERN)]
"""Of what is kept for ever (`events.is_id`)."""
Eligible = Annotated[
    Sequence[KeptIdentifier], Meta(max_length=MAX_ARMS, description="Arms that can be shown; null: all active ones.")
]
Context = Annotated[
    Mapping[str, Any],
    Meta(
        description="Raw fields. Those that the policy declares are logged (features, what its rules read, `logged`), "
        "texts of up to 256 characters; the others are looked at by nobody and kept nowhere."
    ),
]

# JSON has one kind of number: 5.0 is the integer 5, and some clients write it so.
Milliseconds = Annotated[
    float,
    Meta(
        ge=MILLISECONDS_FROM,
        le=MAX_TIME_MS,
        multiple_of=1,
        description="Event time, epoch milliseconds, at most five minutes ahead; null: now.",
    ),
]


Candidates = Annotated[
    Mapping[KeptIdentifier, Mapping[str, float]],
    Meta(
        max_length=MAX_CANDIDATES,
        description="Arms of this request alone, by name, each with the policy's candidate features within ±1.",
    ),
]


Part = Literal["probabilities", "ranking", "guardrails", "ignored", "segment", "snapshot_id"]
Parts = Annotated[
    Sequence[Part],
    Meta(description="What of an answer to tell beside the arm; null: all of it, of a batch none that is long."),
]
LONG_PARTS: tuple[Part, ...] = ("probabilities", "ranking")
PARTS: tuple[Part, ...] = get_args(Part)
OF_BATCHES = tuple(part for part in PARTS if part not in LONG_PARTS)


class DecideBody(Struct, forbid_unknown_fields=True, frozen=True):
    """One request for an arm."""

    context: Context = field(default_factory=dict)
    eligible: Eligible | None = None
    subject: Annotated[Identifier, Meta(description="The person; logged as a keyed hash only.")] | None = None
    action_id: (
        Annotated[
            KeptIdentifier,
            Meta(
                description="Names the decision; asked again it is answered the same. Null: a new one. It is kept for "
                f"ever, so it must name nobody: {ID_RULE}."
            ),
        ]
        | None
    ) = None
    candidates: Candidates | None = None
    fields: Parts | None = None


class DecideManyBody(Struct, forbid_unknown_fields=True, frozen=True):
    """Many requests for an arm of one policy."""

    requests: Annotated[Sequence[DecideBody], Meta(max_length=MAX_BATCH, description="Answered in this order.")]
    fields: Parts | None = None


class DecideManyRows(Struct, forbid_unknown_fields=True, frozen=True):
    """The same, its requests not read yet: each is a row for `DecideBody`."""

    requests: Annotated[list[Raw], Meta(max_length=MAX_BATCH)]
    fields: Parts | None = None


class OutcomeBody(Struct, forbid_unknown_fields=True, frozen=True):
    """Something that came of a decision."""

    action_id: Annotated[KeptIdentifier, Meta(description="The decision that it came of.")]
    kind: Annotated[KeptIdentifier, Meta(description="One of the policy's outcome kinds.")]
    value: Annotated[float, Meta(description="Size of the outcome, where the kind has one.")] = 1.0
    outcome_id: (
        Annotated[
            Identifier,
            Meta(
                description="Names the outcome, so that a repeat counts once; kept as a hash unless it is a UUID. "
                "Null: a new one."
            ),
        ]
        | None
    ) = None
    occurred_at_ms: Milliseconds | None = None
    claim: (
        Annotated[str, Meta(description="What came with the decision; a key of a page, or of some policies, needs it.")]
        | None
    ) = None


class OutcomesBody(Struct, forbid_unknown_fields=True, frozen=True):
    """Many outcomes."""

    outcomes: Annotated[Sequence[OutcomeBody], Meta(max_length=MAX_BATCH, description="Taken all, or none.")]


class OutcomesRows(Struct, forbid_unknown_fields=True, frozen=True):
    """The same, not read yet: each is a row for `OutcomeBody`."""

    outcomes: Annotated[list[Raw], Meta(max_length=MAX_BATCH)]


class ExplainBody(Struct, forbid_unknown_fields=True, frozen=True):
    """What would be decided, and why; nothing is logged."""

    context: Context = field(default_factory=dict)
    eligible: Eligible | None = None
    candidates: Candidates | None = None


def identifier(name: str, value: object) -> str:
    """Return `value` if a record can carry it as an id or name.

    Raises:
        InvalidRecordError: wrong-type, out-of-range.
    """
    if not isinstance(value, str):
        raise InvalidRecordError("wrong-type", f"{name} is {shown(value)} ({type(value).__name__}), expected a string")
    if not 0 < len(value) <= MAX_ID_CHARACTERS:
        raise InvalidRecordError(
            "out-of-range", f"{name} has {len(value)} characters, expected 1 to {MAX_ID_CHARACTERS}"
        )
    if not is_text(value):
        raise InvalidRecordError("out-of-range", f"{name} is {value!r}, expected text that UTF-8 can hold")
    return value


def kept_identifier(name: str, value: object) -> str:
    """Return `value` if it can be an id that is kept for ever.

    Raises:
        InvalidRecordError: wrong-type, out-of-range.
    """
    checked = identifier(name, value)
    if not is_id(checked):
        raise no_id(name, checked)
    return checked


def identifiers(name: str, values: Sequence[object]) -> Sequence[str]:
    """Check each of a list's entries as `kept_identifier` does."""
    if len(values) > MAX_ARMS:
        raise InvalidRecordError("out-of-range", f"{name} has {len(values)} entries, expected at most {MAX_ARMS}")
    return [kept_identifier(f"{name}[{place}]", value) for place, value in enumerate(values)]


def candidates(given: Mapping[str, Mapping[str, float]] | None) -> Mapping[str, Mapping[str, float]]:
    """Check the arms that a request brings.

    Raises:
        InvalidRecordError: wrong-type, out-of-range.
    """
    if not given:
        return NO_CANDIDATES
    if len(given) > MAX_CANDIDATES:
        raise InvalidRecordError(
            "out-of-range", f"candidates has {len(given)} entries, expected at most {MAX_CANDIDATES}"
        )
    return {kept_identifier("a name in candidates", arm): features for arm, features in given.items()}
