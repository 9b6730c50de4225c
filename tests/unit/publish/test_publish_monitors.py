"""Monitors look behind what is published, as often as the policy says, and keep nothing from being published."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.monitor.monitors import BY_NAME
from pipeline.publish import agent as publish_agent
from tests.unit.publish.bench import Bench


async def test_all_of_them_look_as_often_as_the_policy_says(bench: Bench) -> None:
    await bench.learn(10)
    ((_, watched),) = bench.agent.watch
    first = watched.readings
    assert first.keys() == BY_NAME.keys()
    await bench.learn(11)
    assert watched.readings is first
    bench.now_s += 600
    await bench.learn(12)
    assert watched.readings is not first


async def test_one_that_fails_keeps_nothing_from_being_published(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("a row that nobody thought of")

    monkeypatch.setattr(publish_agent, "look", broken)
    await bench.learn(10)
    await bench.learn(11)
    assert bench.counts == [10, 11]
    ((_, watched),) = bench.agent.watch
    assert watched.readings == {}
