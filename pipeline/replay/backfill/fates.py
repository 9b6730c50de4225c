"""What became of history's records, by the words that people ask with. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def told_of(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many were taken, credited, orphans, late and so on, from JOIN's counts.

    >>> told_of({"decisions.open": 1, "decisions.settled": 2, "outcomes.credited": 2, "outcomes.expired-orphan": 1})
    {'decisions': 3, 'credited': 2, 'orphan': 1}
    """
    found: Counter[str] = Counter()
    for name, count in counts.items():
        word = _WORDS.get(name)
        if word is None and ".rejected." in name:
            word = "refused"
        if word is not None:
            found[word] += count
    return {word: found[word] for word in sorted(found, key=_ORDER.index) if found[word]}


_WORDS = {
    "decisions.open": "decisions",
    "decisions.settled": "decisions",
    "decisions.erased": "erased",
    "decisions.duplicate": "duplicate",
    "outcomes.credited": "credited",
    "outcomes.duplicate": "duplicate",
    "outcomes.outside-window": "late",
    "outcomes.before-decision": "early",
    "outcomes.awaiting-decision": "orphan",
    "outcomes.expired-orphan": "orphan",
}
_ORDER = ["decisions", "credited", "late", "early", "orphan", "duplicate", "erased", "refused"]
