"""What an operator orders about a policy's snapshots: go back to a version, hold the present one, go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from pipeline.errors import ConfigError

Action = Literal["rollback", "pin", "unpin"]
ROLLBACK: Action = "rollback"
PIN: Action = "pin"
UNPIN: Action = "unpin"


class Directive(NamedTuple):
    """One order; of several, the highest number holds."""

    policy: str
    """Its policy."""
    number: int
    """Rising within the policy: epoch milliseconds when it was given, or one more than the one before."""
    action: Action
    """Unpin, when nothing is held any more."""
    version: int = 0
    """Rollback: the version to go back to. Pin: the one that was live when it was given."""
    content: bytes = b""
    """Rollback: that version's snapshot record."""
    follows: int | None = None
    """Number of the directive that held when it was given; 0: none; None: an earlier release did not say."""


def parse_directive(fields: Mapping[str, Any], source: str) -> Directive:
    """Check a `directive` record.

    Raises:
        ConfigError: with the fault.
    """
    directive = Directive(**fields)
    if directive.action not in get_args(Action):
        raise ConfigError(
            source, [f"action: {directive.action!r} is none of {', '.join(get_args(Action))}; upgrade this worker"]
        )
    if directive.number <= 0:
        raise ConfigError(source, [f"number: {directive.number}, expected at least 1"])
    return directive


def is_overtaken(directive: Directive, known: Directive | None) -> bool:
    """Whether another directive was given since the one that this one was made from: then it is passed over.

    >>> pin = Directive("homepage", 2_000, PIN, 7, follows=1_000)
    >>> is_overtaken(pin, Directive("homepage", 1_000, UNPIN)), is_overtaken(pin, Directive("homepage", 1_500, UNPIN))
    (False, True)
    """
    if known is None or directive == known or directive.follows is None:
        return False
    return directive.follows != number_of(known)


def is_held(directive: Directive | None) -> bool:
    """Return whether a policy is pinned or rolled back, by the last directive about it.

    >>> is_held(Directive("homepage", 1, PIN, 7)), is_held(Directive("homepage", 2, UNPIN)), is_held(None)
    (True, False, False)
    """
    return directive is not None and directive.action != UNPIN


def number_of(directive: Directive | None) -> int:
    """Return the number by which a later directive says that it follows this one."""
    return 0 if directive is None else directive.number


def next_number(before: Directive | None, now_ms: int) -> int:
    """Return the number of a new directive: above the one before, even if that came from a clock ahead of this one.

    >>> next_number(Directive("homepage", 2_000, "pin"), 1_500)
    2001
    """
    return now_ms if before is None else max(now_ms, before.number + 1)
