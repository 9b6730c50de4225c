"""An operator's act, as the topic `audit` holds it: one record before it is done, one after. Pure.

Each of the two holds all that is known of the act, so that either may be missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson

from pipeline.codec import avro

State = Literal["asked", "done", "failed"]

MAX_TOLD_BYTES = 16 << 10
"""Of what was or is to be. A definition differs in less, but for an encoder's weights, whose hash is kept."""
MAX_NAME_CHARACTERS = 256
MAX_ERROR_CHARACTERS = 1_024
ABSENT = object()


class Change(NamedTuple):
    """What is about to be changed."""

    target: str
    """In words: `definition`, `switches`, `topic rewards`."""
    policy: str = ""
    """Whose; empty where it concerns none."""
    before: Any = None
    """What was, of what changes: plain values."""
    after: Any = None
    """What is to be."""


class Audit(NamedTuple):
    """One record of the topic."""

    act_id: str
    """The same in both records of an act."""
    state: State
    """About to be done, done, or not wholly done."""
    at_ms: int
    """By the clock of the machine that acts."""
    actor: str
    """Who, as they say."""
    command: str
    """By which command."""
    policy: str
    """Whose, or empty."""
    target: str
    """What is changed."""
    before: str
    """JSON of what was."""
    after: str
    """JSON of what is to be."""
    error: str = ""
    """Why it failed."""

    def ended(self, state: State, at_ms: int, error: str = "") -> Audit:
        """Return the record of how it ended."""
        return self._replace(state=state, at_ms=at_ms, error=shortened(error, MAX_ERROR_CHARACTERS))

    def to_bytes(self) -> bytes:
        """Return the record's value."""
        return avro.encode("audit", self._asdict())


def asked(change: Change, act_id: str, at_ms: int, actor: str, command: str) -> Audit:
    """Return the record of what is about to be done.

    >>> asked(Change("switches", "homepage", [], ["promo"]), "1", 0, "ada@desk", "policy kill").after
    '["promo"]'
    """
    who, by, policy, target = (
        shortened(name, MAX_NAME_CHARACTERS) for name in (actor, command, change.policy, change.target)
    )
    return Audit(act_id, "asked", at_ms, who, by, policy, target, told(change.before), told(change.after))


def told(value: Any) -> str:
    """Return JSON of bounded length.

    >>> told({"share": 0.05}), len(told("x" * 100_000)) <= MAX_TOLD_BYTES
    ('{"share":0.05}', True)
    """
    whole = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS)
    if len(whole) <= MAX_TOLD_BYTES:
        return whole.decode()
    # What is cut is a string in JSON again, where each quote takes two bytes.
    cut = whole[: MAX_TOLD_BYTES // 2 - 256].decode(errors="ignore")
    return orjson.dumps({"cut": cut, "bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}).decode()


def shortened(text: str, characters: int) -> str:
    """Return so much of a text as a record has room for.

    >>> shortened("too long a name", 9)
    'too long…'
    """
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return of two documents what only one has, or both have otherwise; nested as they are.

    >>> differing({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}, "e": 5})
    ({'b': {'d': 3}}, {'b': {'d': 4}, 'e': 5})
    """
    was: dict[str, Any] = {}
    is_to_be: dict[str, Any] = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, ABSENT), after.get(key, ABSENT)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            old, new = differing(old, new)
        if old is not ABSENT:
            was[key] = old
        if new is not ABSENT:
            is_to_be[key] = new
    return was, is_to_be


def latest_of_each(records: Iterable[Audit]) -> Sequence[Audit]:
    """Return the last record of each act, in the order in which the acts began.

    An act whose last record is `asked` is on its way, or was interrupted.
    """
    latest: dict[str, Audit] = {}
    for record in records:
        # A repeated delivery of the first record does not undo what the second says.
        if record.state != "asked" or record.act_id not in latest:
            latest[record.act_id] = record
    return list(latest.values())
