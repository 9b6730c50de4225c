"""What a broker is asked for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest
from faust.types import TP

from pipeline.stream.log.pace import PacedFetches

NODE = 1


class Fetcher:
    """Notes what it would have sent; every answer has records."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def _proc_fetch_request(self, assignment: Any, node: int, request: Any) -> bool:
        del assignment, node
        self.asked.append(request.topics)
        return True


def request() -> FetchRequest:
    return FetchRequest(100, 1, 1 << 20, 0, [("decisions", [(0, 5, 1), (1, 6, 1)]), ("rewards", [(0, 7, 1)])])


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher()


async def test_a_partition_of_which_enough_waits_is_left_out_of_the_request(fetcher):
    enough = {TP("decisions", 1)}
    PacedFetches(fetcher, enough, pace_s=0.0)
    assert await fetcher._proc_fetch_request(SimpleNamespace(), NODE, request())
    enough.clear()
    assert await fetcher._proc_fetch_request(SimpleNamespace(), NODE, request())
    assert fetcher.asked == [[("decisions", [(0, 5, 1)]), ("rewards", [(0, 7, 1)])], request().topics]


async def test_where_enough_waits_of_all_nobody_is_asked_and_nothing_came(fetcher):
    PacedFetches(fetcher, {TP("decisions", 0), TP("decisions", 1), TP("rewards", 0)}, pace_s=0.0)
    assert not await fetcher._proc_fetch_request(SimpleNamespace(), NODE, request())
    assert fetcher.asked == []


async def test_a_request_that_is_cancelled_while_it_waits_for_its_turn_ends_quietly(fetcher):
    PacedFetches(fetcher, set(), pace_s=1_000.0)
    await fetcher._proc_fetch_request(SimpleNamespace(), NODE, request())
    waiting = asyncio.create_task(fetcher._proc_fetch_request(SimpleNamespace(), NODE, request()))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await waiting is False
    assert len(fetcher.asked) == 1


async def test_other_brokers_have_a_pace_of_their_own(fetcher):
    PacedFetches(fetcher, set(), pace_s=1_000.0)
    await fetcher._proc_fetch_request(SimpleNamespace(), 1, request())
    await fetcher._proc_fetch_request(SimpleNamespace(), 2, request())
    assert len(fetcher.asked) == 2
