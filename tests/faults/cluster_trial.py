"""A scenario on three brokers: events that come as time passes, and how long nothing was published meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from pipeline.stream.log.topics import partition_for
from tests.faults.trial import RECOVERED_WITHIN_S, Trial
from tests.harness.cluster.cluster import Cluster
from tests.harness.cluster.producer import SteadyProducer
from tests.harness.flow import Flow, Raw
from tests.harness.known import Traffic, now, traffic
from tests.harness.silence import silences
from tests.harness.supervised import Supervised
from tests.samples import define, plain_policy

GRACE = "90s"
"""Topics of which one stands still for as long as a cluster needs, while the other goes on, are further apart than on
one broker."""
REPEATS = 0.22
"""Of the chunks, those at the end hold but late events and repeats (`known.py`): 15 s of 75, of which little is
published."""
SHORT_PACE_S, LONG_PACE_S = 0.2, 1.2
"""Between chunks of half a second of event time."""
GOES_ON_WITHIN_S = 45.0
"""A cluster elects another leader within 10 s; a frozen host that clients wait for costs a minute and more."""
SHORT_ACTIONS, LONG_ACTIONS = 300, 1_200
"""Decisions of each policy."""


class ClusterTrial(Trial):
    """The same, on a cluster."""

    def __init__(self, cluster: Cluster, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cluster = cluster

    def streams(self, actions: int | None = None) -> tuple[Traffic, ...]:
        """Give a stream of a policy for each partition that publishes, so that each is seen to go on or not."""
        now_ms, partitions = now(), self.client.partitions
        actions = actions or (LONG_ACTIONS if self.form.is_long else SHORT_ACTIONS)
        return tuple(
            traffic(
                plain_policy(settle="optimistic", grace=GRACE, publish={"interval": "100ms"})
                | {"name": self.published_at(number)},
                self.seed + number,
                actions,
                now_ms=now_ms,
            )
            for number in range(partitions)
        )

    def published_at(self, number: int) -> str:
        """Return the name of a policy that a partition publishes."""
        names = (f"homepage-{n}" for n in count())
        return next(name for name in names if partition_for(name, self.client.partitions) == number)

    @asynccontextmanager
    async def flow(self, *streams: Traffic, among: Mapping[int, Sequence[Raw]] | None = None) -> AsyncIterator[Flow]:
        """Put the streams' policies in force, and be ready to send them at the pace of time."""
        for stream in streams:
            await self.client.apply(define(stream.policy))
        pace_s = LONG_PACE_S if self.form.is_long else SHORT_PACE_S
        async with Flow(SteadyProducer(self.client), *streams, among=among, pace_s=pace_s) as flow:
            yield flow

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[Supervised]:
        """Have one worker work, started again if it ends."""
        with self.supervised(**options) as worker:
            self.client.watch(worker)
            yield worker

    async def harm(self, do: Callable[..., None], *arguments: Any) -> None:
        """Do something to the cluster, and count it."""
        await asyncio.to_thread(do, *arguments)
        self.injected()

    async def is_published(self, *streams: Traffic) -> None:
        """Wait until each policy has one snapshot more than now."""
        before = {one.policy["name"]: len(await self.client.snapshots(one.policy["name"])) for one in streams}

        async def are_there() -> bool:
            return all([len(await self.client.snapshots(name)) > seen for name, seen in before.items()])

        await self.client.until(are_there, what=f"snapshots of {', '.join(before)}", within_s=GOES_ON_WITHIN_S)

    @asynccontextmanager
    async def going_on(self, flow: Flow, *streams: Traffic) -> AsyncIterator[None]:
        """Have events sent while harm is done, the latest afterwards; note the longest time without a snapshot.

        What is timed as recovery is what comes after the last event.
        """
        since_ms = now()
        repeats = round(len(flow) * REPEATS)
        await flow.allow(flow.left - repeats)
        yield
        await flow.send(0)
        until_ms = now()
        self.is_over()
        await flow.send_rest()
        await self.client.quiet(RECOVERED_WITHIN_S)
        found = await silences(self.client, [one.policy["name"] for one in streams], since_ms, until_ms)
        self.silent_s = max(found.values())

    async def until_whole(self) -> None:
        """Wait until all brokers serve and are in sync."""
        await asyncio.to_thread(self.cluster.make_whole)
