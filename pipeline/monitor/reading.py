"""What a monitor is, and what it says. Pure.

A new one is a file with a `Monitor`, a line in `monitors.py`, and its threshold in `policy/monitors.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipeline.monitor.view import View

WITHHELD: Mapping[str, str] = MappingProxyType(
    {
        "few": "the last day has fewer than 1,000 decisions of which all has come that will",
        "young": "the week before the last day has fewer than 1,000 decisions to compare with",
        "unsampled": "no decisions are sampled: [monitors] sample = 0.05 in the policy counts a twentieth of them",
        "few-sampled": "fewer than 1,000 sampled decisions",
        "no-context": "the policy has no features, or a network's units in their place",
        "no-holdout": "the policy holds nobody out",
        "one-arm": "fewer than two arms were tried often enough",
        "not-positive": "its rewards are not above 0 in the mean",
        "sticky": "people keep their answers ([assignment]): repeats are no draws of their own",
        "alike": "rewards have fewer than eight sizes: their mean says it all",
    }
)
"""Why there is no figure, in words."""
FIGURES = 8
"""That a monitor tells at the most."""


class Figure(NamedTuple):
    """One number."""

    name: str
    value: float
    of: str = ""
    """The feature or arm that it is of; empty: of the policy."""


class Reading(NamedTuple):
    """What a monitor says of one moment."""

    figures: tuple[Figure, ...] = ()
    """At most `FIGURES`, the most remarkable first."""
    is_red: bool = False
    withheld: str = ""
    """One of `WITHHELD`, where there is nothing to be said."""


class Monitor(NamedTuple):
    """One monitor."""

    name: str
    """As in `policy/monitors.py`, which has its threshold."""
    sees: str
    """In words, what it looks at."""
    within: str
    """How long after a fault of its kind began it is red."""
    read: Callable[[View], Reading]


def worst(figures: list[Figure], at: float) -> tuple[Figure, ...]:
    """Return those that are furthest from `at`, where all is well."""
    return tuple(sorted(figures, key=lambda one: -abs(one.value - at))[:FIGURES])
