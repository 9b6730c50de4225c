"""What repeats itself in a log is said a bounded number of times, then counted: pure.

A key stands for all lines of one kind. Each key may say so many lines at once, and one a minute after that; what it
may not say is counted, and told with the next line that it says, or by itself as soon as it may.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

AGAIN_S = 60.0
"""Between two lines of a key that has said all that it may say at once."""
MOST_KEYS = 500
"""The one that was silent longest is forgotten: a kind that names itself anew each time must not fill the memory."""
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


def kind_of(template: str) -> str:
    """Return a message without what differs from line to line, where somebody has filled it in before.

    >>> kind_of("Unable connect to node with id 2: <Future at 0x7f907e2a5fd0>")
    'Unable connect to node with id #: <Future at #>'
    """
    return _VARYING.sub("#", template)


@dataclass(slots=True)
class _Said:
    """What a key has said."""

    lines_left: float
    """It may say so many now; grows by one in AGAIN_S."""
    at_s: float
    untold: int = 0
    since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """A line that is to be said."""

    more: int
    """So many like it were not said."""
    within_s: float
    """In so long."""
    is_first: bool
    """Whether the key had said nothing for as long as it takes to be new again."""


class Repeats:
    """All keys of one log."""

    def __init__(self) -> None:
        self._said: OrderedDict[Hashable, _Said] = OrderedDict()

    def take(self, key: Hashable, at_once: int, now_s: float) -> Told | None:
        """Return how a line of this key is to be said; None: not now, it is counted."""
        said = self._said.pop(key, None) or _Said(at_once, now_s)
        self._said[key] = said
        is_first = self._grow(said, at_once, now_s)
        if said.lines_left < 1.0:
            if not said.untold:
                said.since_s = now_s
            said.untold += 1
            return None
        return self._tell(said, now_s, is_first=is_first)

    def due(self, now_s: float) -> Iterator[tuple[Hashable, Told]]:
        """Yield what was counted and may be told now, and what is forgotten with it."""
        for key, said in list(self._said.items()):
            is_too_many = len(self._said) > MOST_KEYS
            self._grow(said, math.inf, now_s)
            if said.untold and (said.lines_left >= 1.0 or is_too_many):
                yield key, self._tell(said, now_s, is_first=False)
            if is_too_many:
                del self._said[key]

    def rest(self, now_s: float) -> Iterator[tuple[Hashable, Told]]:
        """Yield all that was counted and not told: the log ends."""
        for key, said in self._said.items():
            if said.untold:
                yield key, self._tell(said, now_s, is_first=False)

    def _grow(self, said: _Said, at_once: float, now_s: float) -> bool:
        """Let time give lines back; return whether all of them are there."""
        said.lines_left = min(at_once, said.lines_left + (now_s - said.at_s) / AGAIN_S)
        said.at_s = now_s
        return said.lines_left >= at_once

    def _tell(self, said: _Said, now_s: float, *, is_first: bool) -> Told:
        said.lines_left -= 1.0
        told = Told(said.untold, now_s - said.since_s if said.untold else 0.0, is_first)
        said.untold = 0
        return told
