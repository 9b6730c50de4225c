"""Where outcomes stop, publishing waits if the policy says so; all is kept, and it goes on by itself or by hand."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.policy.definition import PolicyDefinition
from tests.samples import define, plain_policy
from tests.unit.publish.bench import Bench, mark

LOOK_S = 60
PER_LOOK = 1_000


def policy(**label_rate: Any) -> PolicyDefinition:
    rule = {"look": "1m", "hold": True, **label_rate}
    return define(plain_policy(publish={"interval": "1s"}, monitors={"label_rate": rule}))


class Stream:
    """What is learned, look by look: a tenth of the decisions earn 1, or as many as are told."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.count = self.clicks = 0

    async def go_on(self, decisions: int, clicks: int) -> None:
        self.count += decisions
        self.clicks += clicks
        offset = self.count
        step = 2 ** self.bench.policies.book.latest("homepage").reward_exponent
        sums = np.array([self.count, self.clicks * step, self.clicks * step * step], "<i8").tobytes()
        row = {"source_partition": 0, "ledger_offset": offset, "dimension": 0, "sums": sums}
        key = RowKey("homepage", 1, "new", "a", 0)
        await self.bench.read(avro.encode("statistics", {**key._asdict(), **row}), mark(offset))
        self.bench.now_s += LOOK_S
        await self.bench.publish()


@pytest.fixture
async def stream(bench: Bench) -> Stream:
    bench.policies.book.put(policy())
    made = Stream(bench)
    await made.go_on(100_000, 10_000)
    await made.go_on(PER_LOOK, 100)
    assert bench.counts[-1] == 101_000
    return made


async def test_while_outcomes_stop_nothing_is_published_and_all_of_it_is_kept(stream: Stream) -> None:
    bench = stream.bench
    await stream.go_on(PER_LOOK, 0)
    await stream.go_on(PER_LOOK, 0)
    assert bench.counts[-1] == 101_000
    assert bench.agent.watch.is_held("homepage")
    # As many as ever, and what was kept back: it goes on by itself, with everything.
    await stream.go_on(PER_LOOK, 300)
    assert bench.counts[-1] == 104_000
    assert not bench.agent.watch.is_held("homepage")


async def test_it_is_said_once_when_it_begins_and_once_when_it_ends(
    stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pipeline.publish.agent"):
        for clicks in (0, 0, 0, 100, 100):
            await stream.go_on(PER_LOOK, clicks)
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("label-rate ")]
    assert len(told) == 2
    assert "policy=homepage state=stopped before=ok came=0" in told[0]
    assert "publishing=held" in told[0]
    assert "state=ok before=stopped" in told[1]


async def test_a_policy_that_does_not_hold_is_told_of_and_published(stream: Stream) -> None:
    bench = stream.bench
    bench.policies.book.put(policy(hold=False))
    await stream.go_on(PER_LOOK, 0)
    ((_, watched),) = bench.agent.watch
    assert watched.label_rate.state == "stopped"
    assert bench.counts[-1] == 102_000


async def test_it_is_released_by_hand_with_a_definition_that_does_not_hold(stream: Stream) -> None:
    bench = stream.bench
    await stream.go_on(PER_LOOK, 0)
    assert bench.counts[-1] == 101_000
    bench.policies.book.put(policy(hold=False))
    await stream.go_on(PER_LOOK, 0)
    assert bench.counts[-1] == 103_000


async def test_an_order_of_an_operator_is_still_acted_on(stream: Stream) -> None:
    bench = stream.bench
    await stream.go_on(PER_LOOK, 0)
    bench.order("rollback", version=1)
    await bench.publish()
    assert bench.counts[-1] == 100_000
