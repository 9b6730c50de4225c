from __future__ import annotations

import asyncio

import pytest

from pipeline.serve.held import Held


async def test_no_more_is_held_than_may_be_and_who_came_first_is_first():
    held, now, most, order = Held(10), 0, 0, []

    async def work(name: int, entries: int) -> None:
        nonlocal now, most
        async with held.hold(entries):
            order.append(name)
            now += entries
            most = max(most, now)
            await asyncio.sleep(0)
            now -= entries

    await asyncio.gather(*(work(name, entries) for name, entries in enumerate((6, 5, 4, 1, 9, 2))))
    assert order == list(range(6))
    assert most <= 10


async def test_what_is_larger_than_all_has_it_alone():
    held = Held(10)
    async with held.hold(1_000):
        other = asyncio.create_task(_held_once(held))
        await asyncio.sleep(0)
        assert not other.done()
    await other


async def test_who_goes_away_while_waiting_leaves_no_hole():
    held = Held(10)
    async with held.hold(10):
        gone, stays = asyncio.create_task(_held_once(held)), asyncio.create_task(_held_once(held))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    async with asyncio.timeout(5):
        await stays
        async with held.hold(10):
            pass


async def _held_once(held: Held) -> None:
    async with held.hold(5):
        await asyncio.sleep(0)
