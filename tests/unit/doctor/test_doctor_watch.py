"""A worker's look at a cluster that does not answer: it goes on, and says so once."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from typing import Any

import pytest

from pipeline.doctor import gather, watch
from pipeline.doctor.gather import BrokerFacts
from pipeline.doctor.watch import ClusterWatch
from pipeline.errors import UnavailableError

NOWHERE = "127.0.0.1:1"
WITHIN_S = 10.0


class SilentAdmin:
    """librdkafka's, whose thread gets to nothing: not even to say that nobody answers."""

    def describe_topics(self, asked: Any, **_: Any) -> dict[str, Future[Any]]:
        del asked
        return {"decisions": Future()}


def test_what_is_never_answered_is_that_no_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "WITHIN_S", -1.0)  # and a second: none
    facts = BrokerFacts.__new__(BrokerFacts)
    facts._app_id, facts._admin = "pipeline", SilentAdmin()
    with pytest.raises(UnavailableError, match="no broker tells of topics"):
        facts.counts()


async def test_an_outage_is_told_when_it_begins_and_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = iter(["not", "yes", "not", "not", "not", "yes", "yes"])
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look(*_: Any) -> None:
        seen = next(looks, None)
        if seen is None:
            loop.call_soon_threadsafe(over.set)
        if seen == "not":
            raise UnavailableError("no broker answers")

    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(BrokerFacts, "is_askable", lambda _: True)
    monkeypatch.setattr(ClusterWatch, "_look_at_counts", look)
    monkeypatch.setattr(ClusterWatch, "_look_at_all", look)
    with caplog.at_level(logging.INFO, watch.log.name):
        running = asyncio.create_task(ClusterWatch(NOWHERE, "pipeline", 4).run())
        async with asyncio.timeout(WITHIN_S):
            await over.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert told == ["cluster-not-looked-at", "cluster-looked-at-again"] * 2
