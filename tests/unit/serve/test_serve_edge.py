from __future__ import annotations

import asyncio
from functools import partial

from pipeline.serve.http.edge import STARTS, Edge
from pipeline.serve.limits import Limits


async def test_what_strangers_ask_is_begun_a_few_at_a_time_however_many_come_together() -> None:
    edge, begun = Edge(Limits()), []
    for number in range(5 * STARTS):
        edge.soon(partial(begun.append, number))
    seen = []
    while len(begun) < 5 * STARTS:
        await asyncio.sleep(0)
        seen.append(len(begun))
    assert seen == [STARTS * turn for turn in range(1, 6)]
    assert begun == list(range(5 * STARTS))
    edge.soon(partial(begun.append, -1))
    await asyncio.sleep(0)
    assert begun[-1] == -1
