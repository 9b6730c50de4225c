"""A row of JOIN as it is stored.

Layout, version 7, and 8 of the analysis group, and 9 of what is undecodable (integers little-endian):

    B version | q due_ms | q decided_at_ms | q close_ms | q expires_ms | d propensity | ? settled
    | H length of names | I length of facts | H length of context vector | i outcomes told
    | names (JSON) | facts (JSON) | keys and records of waiting outcomes | vector | decision

Names of version 9 end with why it is undecodable, and whether it is of the analysis group. Facts are the outcomes,
credited and waiting; most rows have none, and nothing stands there. Version 2 is the tombstone of an erased action:

    B version | q due_ms

Versions 5 and 6, of releases before, did not say what is told, so that the ledger tells it whole again. Versions 3 and
4 had outcomes by their ids as they came; they are read as they are kept now
(`pipeline/outcome_id.py`), so that a repeat stays one. Version 1 had the names and numbers in the facts, keys and
records there in Base64, and is still read. `due_ms` stands at a fixed place because the store's index of due rows is
rebuilt from it.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Iterator
from functools import lru_cache

import orjson

from pipeline.errors import StateError
from pipeline.join.row import UNTOLD, ActionRow, AwaitingOutcome, OutcomeFact
from pipeline.outcome_id import kept_id

VERSION = 7
ANALYSIS_VERSION = 8
"""Laid out as version 7."""
UNDECODABLE_VERSION = 9
"""Laid out as version 7, with two names more."""
VERSIONS_WITHOUT_TOLD = (5, 6)
"""The same two of releases before."""
VERSIONS_WITH_FREE_IDS = (3, 4)
"""The same two of releases before that."""
_OF_ANALYSIS = (8, 6, 4)
TOMBSTONE_VERSION = 2
VERSION_BEFORE = 1
_HEAD = struct.Struct("<Bqqqqd?HIHi")
_HEAD_WITHOUT_TOLD = struct.Struct("<Bqqqqd?HIH")
_BEFORE_TOLD = 10
"""Numbers that all of these say."""
_HEAD_BEFORE = struct.Struct("<BqIH")
_DUE = struct.Struct("<q")
_TOMBSTONE = struct.Struct("<Bq")
_KEPT_NAMES = 4_096
"""Of (policy, generation, segment, arm): rows share them, so each is written and read once while it is in use."""


def row_to_bytes(row: ActionRow) -> bytes:
    """Write the stored layout."""
    if row.is_erased:
        return _TOMBSTONE.pack(TOMBSTONE_VERSION, row.due_ms)
    names = _names_to_bytes(row.policy, row.generation, row.segment, row.arm, row.undecodable, row.is_analysis)
    facts = _facts_to_bytes(row) if row.outcomes or row.awaiting else b""
    head = _HEAD.pack(
        _version_of(row),
        row.due_ms,
        row.decided_at_ms,
        row.close_ms,
        row.expires_ms,
        row.propensity,
        row.is_settled,
        len(names),
        len(facts),
        len(row.vector),
        row.told,
    )
    waiting = b"".join(_whole_records(row.awaiting)) if row.awaiting else b""
    return b"".join((head, names, facts, waiting, row.vector, row.raw))


def row_from_bytes(stored: bytes, action_id: str) -> ActionRow:
    """Read the stored layout of an action's row.

    Raises:
        StateError: written by a version that this code does not know.
    """
    if stored[0] in {VERSION, ANALYSIS_VERSION, UNDECODABLE_VERSION}:
        return _read(stored, _HEAD)
    if stored[0] == TOMBSTONE_VERSION:
        due_ms = due_of(stored)
        return ActionRow(due_ms=due_ms, is_erased=True, stored_due_ms=due_ms, stored_bytes=len(stored))
    if stored[0] in VERSIONS_WITHOUT_TOLD:
        return _read(stored, _HEAD_WITHOUT_TOLD)
    if stored[0] in VERSIONS_WITH_FREE_IDS:
        return _with_kept_ids(_read(stored, _HEAD_WITHOUT_TOLD), action_id)
    if stored[0] == VERSION_BEFORE:
        return _with_kept_ids(_read_before(stored), action_id)
    raise StateError(
        f"action row of version {stored[0]}, this code reads {VERSION_BEFORE} to {UNDECODABLE_VERSION}: "
        "use the release that wrote it"
    )


def _version_of(row: ActionRow) -> int:
    if row.undecodable:
        return UNDECODABLE_VERSION
    return ANALYSIS_VERSION if row.is_analysis else VERSION


def due_of(stored: bytes) -> int:
    """Read only `due_ms` of a stored row."""
    due_ms: int = _DUE.unpack_from(stored, 1)[0]
    return due_ms


def _with_kept_ids(row: ActionRow, action_id: str) -> ActionRow:
    row.outcomes = {kept_id(outcome_id, action_id): fact for outcome_id, fact in row.outcomes.items()}
    row.awaiting = [one._replace(outcome_id=kept_id(one.outcome_id, action_id)) for one in row.awaiting]
    return row


def _read(stored: bytes, layout: struct.Struct) -> ActionRow:
    numbers = layout.unpack_from(stored)
    _, due_ms, decided_ms, close_ms, expires_ms, propensity, settled, names_length, facts_length, vector_length = (
        numbers[:_BEFORE_TOLD]
    )
    facts_start = layout.size + names_length
    at = facts_start + facts_length
    policy, generation, segment, arm, undecodable, is_analysis = _names_from_bytes(stored[layout.size : facts_start])
    outcomes: dict[str, OutcomeFact] = {}
    awaiting: list[AwaitingOutcome] = []
    if facts_length:
        credited, waiting = orjson.loads(stored[facts_start:at])
        outcomes = {outcome_id: OutcomeFact(*fact) for outcome_id, fact in credited.items()}
        for outcome_id, kind, value, occurred_ms, offset, timestamp_ms, key_length, raw_length in waiting:
            raw_start = at + (key_length or 0)
            key = None if key_length is None else stored[at:raw_start]
            at = raw_start + raw_length
            raw = stored[raw_start:at]
            awaiting.append(AwaitingOutcome(outcome_id, kind, value, occurred_ms, offset, timestamp_ms, key, raw))
    return ActionRow(
        due_ms,
        settled,
        outcomes,
        awaiting,
        stored[at + vector_length :],
        stored[at : at + vector_length],
        policy,
        generation,
        segment,
        arm,
        decided_ms,
        close_ms,
        expires_ms,
        propensity,
        is_analysis=is_analysis or stored[0] in _OF_ANALYSIS,
        undecodable=undecodable,
        told=numbers[_BEFORE_TOLD] if len(numbers) > _BEFORE_TOLD else UNTOLD,
        stored_due_ms=due_ms,
        stored_bytes=len(stored),
    )


@lru_cache(_KEPT_NAMES)
def _names_to_bytes(policy: str, generation: int, segment: str, arm: str, undecodable: str, is_analysis: bool) -> bytes:
    beside = (undecodable, is_analysis) if undecodable else ()
    return orjson.dumps((policy, generation, segment, arm, *beside))


@lru_cache(_KEPT_NAMES)
def _names_from_bytes(names: bytes) -> tuple[str, int, str, str, str, bool]:
    policy, generation, segment, arm, *beside = orjson.loads(names)
    undecodable, is_analysis = beside or ("", False)
    return policy, generation, segment, arm, undecodable, is_analysis


def _facts_to_bytes(row: ActionRow) -> bytes:
    credited = {outcome_id: tuple(fact) for outcome_id, fact in row.outcomes.items()}
    waiting = [
        (*outcome[:-2], None if outcome.key is None else len(outcome.key), len(outcome.raw)) for outcome in row.awaiting
    ]
    return orjson.dumps((credited, waiting))


def _whole_records(awaiting: list[AwaitingOutcome]) -> Iterator[bytes]:
    for outcome in awaiting:
        yield outcome.key or b""
        yield outcome.raw


def _read_before(stored: bytes) -> ActionRow:
    _, due_ms, facts_length, vector_length = _HEAD_BEFORE.unpack_from(stored)
    vector_start = _HEAD_BEFORE.size + facts_length
    raw_start = vector_start + vector_length
    settled, policy, generation, segment, arm, decided, close, expires, outcomes, awaiting = orjson.loads(
        stored[_HEAD_BEFORE.size : vector_start]
    )
    return ActionRow(
        due_ms=due_ms,
        is_settled=settled,
        outcomes={key: OutcomeFact(*fact) for key, fact in outcomes.items()},
        awaiting=[
            AwaitingOutcome(*outcome)._replace(
                key=None if outcome[-2] is None else b64decode(outcome[-2]), raw=b64decode(outcome[-1])
            )
            for outcome in awaiting
        ],
        raw=stored[raw_start:],
        vector=stored[vector_start:raw_start],
        policy=policy,
        generation=generation,
        segment=segment,
        arm=arm,
        decided_at_ms=decided,
        close_ms=close,
        expires_ms=expires,
        stored_due_ms=due_ms,
        stored_bytes=len(stored),
    )
