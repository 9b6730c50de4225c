"""When a broker is asked for more: at a pace, and never for what enough waits of already.

aiokafka asks again as soon as it has handed out what came. With the broker's own bounds, so many bytes or so long, a
trickle then either makes a step of each record or waits though nobody is busy. Here a fetch is answered by the first
record there is, and the next one is not sent before a pace has passed: a record that comes alone goes through at once,
and of a stream each fetch brings what came meanwhile.

A partition of which enough waits is left out. So a stage that is behind holds up nobody: the stages behind it, which
finish what is begun, go on being fed over the same connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container
from typing import Any

from faust.types import TP

FETCH_PACE_S = 0.01
"""Between two fetches of a broker."""


class PacedFetches:
    """Stands in front of a fetcher's requests, from when it is made."""

    def __init__(self, fetcher: Any, enough: Container[TP], pace_s: float = FETCH_PACE_S) -> None:
        self._proceed = fetcher._proc_fetch_request  # noqa: SLF001  where each request of aiokafka 0.14 passes
        self._enough = enough
        self._pace_s = pace_s
        self._next_s: dict[int, float] = {}
        """By node: when it may be asked again."""
        fetcher._proc_fetch_request = self._ask  # noqa: SLF001

    async def _ask(self, assignment: Any, node: int, request: Any) -> bool:
        """Wait for the node's turn, then send what is to be asked; return whether records came."""
        try:
            await asyncio.sleep(self._next_s.get(node, 0.0) - time.monotonic())
        except asyncio.CancelledError:
            return False  # as aiokafka's own does: whoever cancels it awaits it bare
        self._next_s[node] = time.monotonic() + self._pace_s
        request._topics = wanted(request.topics, self._enough)  # noqa: SLF001
        return bool(request.topics) and bool(await self._proceed(assignment, node, request))


def wanted(
    topics: list[tuple[str, list[tuple[int, int, int]]]], enough: Container[TP]
) -> list[tuple[str, list[tuple[int, int, int]]]]:
    """Leave out the partitions that enough waits of.

    >>> wanted([("rewards", [(0, 70, 1), (1, 90, 1)]), ("statistics", [(0, 50, 1)])], {TP("rewards", 0)})
    [('rewards', [(1, 90, 1)]), ('statistics', [(0, 50, 1)])]
    """
    left = ((topic, [one for one in some if TP(topic, one[0]) not in enough]) for topic, some in topics)
    return [(topic, some) for topic, some in left if some]
