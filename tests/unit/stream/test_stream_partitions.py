"""What is open of a stage, and what is about to be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import FencedError
from pipeline.stream.state.partitions import Partitions


class Opening:
    """Opens partitions when it is told to; one of number 9 is another worker's."""

    def __init__(self) -> None:
        self.may_open = asyncio.Event()
        self.closed: list[int] = []

    async def open(self, number: int) -> Any:
        await self.may_open.wait()
        if number == 9:
            raise FencedError("claimed by another")
        sources = SimpleNamespace(confirm=self._confirm, is_changed=False)
        return SimpleNamespace(number=number, sources=sources, close=lambda: self._close(number))

    async def _confirm(self, _: object) -> dict[str, Any]:
        return {}

    async def _close(self, number: int) -> None:
        self.closed.append(number)


def partitions_of(opening: Opening) -> Partitions[Any]:
    def load(held: Any) -> Any:
        return SimpleNamespace(held=held, positions=dict, resume=lambda _: {})

    return Partitions(opening.open, load)


async def test_what_is_being_opened_is_waited_for_though_who_asked_is_gone() -> None:
    opening = Opening()
    partitions = partitions_of(opening)
    asking = asyncio.create_task(partitions.open(3))
    await asyncio.sleep(0)
    asking.cancel()
    settling = asyncio.create_task(partitions.settle())
    await asyncio.sleep(0)
    assert not settling.done()
    opening.may_open.set()
    await settling
    assert [one.held.number for one in partitions] == [3]
    await partitions.close_all()
    assert opening.closed == [3]


async def test_what_could_not_be_opened_is_tried_again_by_who_asks_next() -> None:
    opening = Opening()
    partitions = partitions_of(opening)
    opening.may_open.set()
    with pytest.raises(FencedError):
        await partitions.open(9)
    with pytest.raises(FencedError):  # the same attempt
        await partitions.open(9)
    await partitions.open(4)
    await partitions.settle()
    assert partitions.numbers == {4}
