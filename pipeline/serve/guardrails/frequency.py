"""What subjects were shown lately, as far as this node knows: for a policy's frequency cap.

Memory is bounded: the `capacity` subjects seen last, `ARMS_KEPT` arms of each, `shows` times of each arm. A subject
that comes to another node, or comes back after it was let go or the node was started anew, is not known: with k nodes
and no stickiness an arm may be shown k times as often as the cap says. Time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection

from pipeline.policy.guardrails import FrequencyCap

CAPACITY = 100_000
"""Subjects: with three arms of three shows each about 60 MB."""
ARMS_KEPT = 32

Shows = OrderedDict[str, deque[int]]


class SubjectMemory:
    """Arm → when it was shown, of each subject of each policy."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._subjects: OrderedDict[tuple[str, str], Shows] = OrderedDict()

    def __len__(self) -> int:
        return len(self._subjects)

    def worn(self, policy: str, subject: str, cap: FrequencyCap, now_ms: int) -> Collection[str]:
        """Return the arms that the subject has seen `shows` times within the window."""
        shows = self._subjects.get((policy, subject))
        if shows is None:
            return ()
        since_ms = now_ms - cap.window_ms
        return [
            arm for arm, times in shows.items() if len(times) >= cap.shows and times[len(times) - cap.shows] > since_ms
        ]

    def note(self, policy: str, subject: str, arm: str, cap: FrequencyCap, now_ms: int) -> None:
        """Remember that the subject is shown an arm."""
        key = (policy, subject)
        shows = self._subjects.setdefault(key, OrderedDict())
        self._subjects.move_to_end(key)
        times = shows.get(arm)
        if times is None or times.maxlen != cap.shows:
            times = deque(times or (), maxlen=cap.shows)
        times.append(now_ms)
        shows[arm] = times
        shows.move_to_end(arm)
        if len(shows) > ARMS_KEPT:
            shows.popitem(last=False)
        if len(self._subjects) > self._capacity:
            self._subjects.popitem(last=False)
