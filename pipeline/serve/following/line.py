"""Which snapshots of a policy continue its line: each is numbered one higher than the one it names by its id. Pure.

A node that follows the topic sees every version, so one that names no predecessor that it knows was not made by the
publisher, whatever its number. What is taken on trust is where a reading of the topic begins, since compaction has
removed what was before: until something follows it, that is *unconfirmed*, and yields to what follows the line from
before that reading, or to two in a row that follow each other.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Link(NamedTuple):
    """A snapshot's place."""

    version: int
    """Its number."""
    parent: str
    """Id of the one before."""
    id: str
    """Hash of its bytes."""

    def follows(self, other: Link | None) -> bool:
        """Return whether the other is the one before this one."""
        return other is not None and self.version == other.version + 1 and self.parent == other.id


class Verdict(Enum):
    """What a snapshot is to the line."""

    NEXT = "next"
    """It may go live."""
    KNOWN = "known"
    """It was read before, or is older than what was."""
    STRANGE = "strange"
    """It continues nothing: it is not of this line."""


class Line:
    """One policy's line, over all readings of the topic.

    >>> line = Line()
    >>> [line.take(Link(*link)).value for link in ((7, "", "7th"), (10**6, "", "forged"), (8, "7th", "8th"))]
    ['next', 'strange', 'next']
    """

    def __init__(self, confirmed: Link | None = None) -> None:
        self.is_displaced = False
        """Whether the last NEXT took the place of one that was trusted and is not of this line."""
        self._confirmed = confirmed
        """The end of the line as it was followed."""
        self._trusted: Link | None = None
        """Where a reading began that does not continue it, while nothing has followed."""
        self._strange: Link | None = None
        self._strange_run = 0
        """How many in a row follow each other, and not this line."""
        self._is_begun = False

    @property
    def may_have_missed(self) -> bool:
        """Whether two in a row follow each other and not this line: one between may not have been read."""
        return self._strange_run > 1

    def begin(self) -> None:
        """Note that the topic is read from its start again."""
        self._is_begun, self._strange, self._strange_run = False, None, 0

    def take(self, link: Link) -> Verdict:
        """Take the next snapshot of the topic."""
        self.is_displaced = False
        is_first, self._is_begun = not self._is_begun, True
        if link in {self._confirmed, self._trusted}:
            return Verdict.KNOWN
        if link.follows(self._confirmed) or link.follows(self._trusted):
            return self._confirm(link, is_displacing=self._trusted is not None and not link.follows(self._trusted))
        is_older = self._confirmed is not None and link.version <= self._confirmed.version
        if is_first and not is_older:
            self._trusted = link
            return Verdict.NEXT
        is_run = link.follows(self._strange)
        if is_run and self._trusted is not None:  # one that nothing follows, against two in a row
            return self._confirm(link, is_displacing=True)
        if is_older and not is_run:
            return Verdict.KNOWN
        self._strange, self._strange_run = link, self._strange_run + 1 if is_run else 1
        return Verdict.STRANGE

    def _confirm(self, link: Link, *, is_displacing: bool = False) -> Verdict:
        self.is_displaced = is_displacing
        self._confirmed, self._trusted, self._strange, self._strange_run = link, None, None, 0
        return Verdict.NEXT
