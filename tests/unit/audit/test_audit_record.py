"""What is done stands between two records; what fails is said to have failed, and what can't be recorded is told."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.audit.entry import Audit, Change
from pipeline.audit.read import read_audits
from pipeline.audit.record import Operator, recorded
from pipeline.brokers import Broker
from pipeline.errors import UnavailableError
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.log.topics import AUDIT

CHANGE = Change("switches", "homepage", {"promo": "on"}, {"promo": "off"})


async def make_topic(broker: Broker) -> str:
    """This broker makes a topic when somebody asks for it."""
    outbox = Outbox(broker.bootstrap_servers)
    await outbox.start()
    await outbox.partition_count(AUDIT)
    await outbox.stop()
    return broker.bootstrap_servers


async def records(broker: str, command: str) -> list[Audit]:
    return [one for one in await read_audits(broker) if one.command == command]


async def test_the_act_stands_between_its_two_records(embedded: Broker):
    broker = await make_topic(embedded)
    async with recorded(broker, Operator("ada", "between"), CHANGE):
        (before,) = await records(broker, "between")
        assert (before.state, before.actor, before.after) == ("asked", "ada", '{"promo":"off"}')
    assert [one.state for one in await records(broker, "between")] == ["asked", "done"]


async def test_what_fails_is_recorded_with_its_error_and_raised(embedded: Broker):
    broker = await make_topic(embedded)
    with pytest.raises(UnavailableError, match="not acknowledged"):
        async with recorded(broker, Operator("ada", "failing"), CHANGE):
            raise UnavailableError("not acknowledged")
    assert [(one.state, one.error) for one in await records(broker, "failing")] == [
        ("asked", ""),
        ("failed", "not acknowledged"),
    ]


async def test_what_is_interrupted_is_recorded_as_failed(embedded: Broker):
    broker = await make_topic(embedded)
    is_acting = asyncio.Event()

    async def act() -> None:
        async with recorded(broker, Operator("ada", "interrupted"), CHANGE):
            is_acting.set()
            await asyncio.Event().wait()

    acting = asyncio.create_task(act())
    await is_acting.wait()
    acting.cancel()
    await asyncio.gather(acting, return_exceptions=True)
    assert [one.state for one in await records(broker, "interrupted")] == ["asked", "failed"]


async def test_what_cannot_be_recorded_is_done_and_told_or_refused_where_a_record_is_required():
    nobody, told = "127.0.0.1:1", []
    async with recorded(nobody, Operator("ada", "alone", tell=told.append), CHANGE):
        pass
    assert len(told) == 2
    assert "going on without a record" in told[0]
    assert "is done, which audit does not say" in told[1]
    with pytest.raises(UnavailableError, match="nothing is done"):
        async with recorded(nobody, Operator("ada", "alone", is_record_required=True), CHANGE):
            pytest.fail("was done")
