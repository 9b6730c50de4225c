"""Scenario 12: a partition of a stage that can't go on stands still by itself, and says so.

One topic refuses what one stage writes: its operator has bounded its messages, say. That stage's partitions fail again
and again; the stages before it go on, nothing is acknowledged for them, and nothing is missed when it is mended.
"""

from __future__ import annotations

import asyncio

import httpx
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.brokers.ports import free_ports
from pipeline.stream.log.topics import DECISIONS, LEARN_TABLE, MAX_BATCH_BYTES, REWARDS, changelog_topic
from tests.faults.trial import RECOVERED_WITHIN_S, Trial

SHARE = 40
"""Chunks of the stream."""
SHORT, LONG = 200, 3_000
"""Decisions of each policy."""
TOO_SMALL_BYTES = 200
"""A claim fits, no step does."""
WITHIN_S = 30.0
EXIT_LANE_FAILED = 75


def bound(broker: str, topic: str, message_bytes: int) -> None:
    """Set how large a topic's record batches may be."""
    entry = ConfigEntry("max.message.bytes", str(message_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": broker})  # whose end would end what it was asked
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(WITHIN_S)


async def test_partitions_that_can_not_go_on_stand_still_alone(trial: Trial) -> None:
    """
    LEARN's changelog   ├─ takes all ─┤ takes nothing that is worth it ─────────────┤ takes all
    worker 0            ├─ all stages ┤ LEARN stands still, JOIN goes on ─┤
                                                           takes all ├─┤ and again nothing
    worker 1                                               asked to tell ├──────────┤ 75
    worker 2                                                                        ├─ all stages
    """
    streams = trial.streams(LONG if trial.form.is_long else SHORT)
    broker, changelog = trial.client.broker, changelog_topic(trial.place.app_id, LEARN_TABLE)
    (port,) = free_ports(1)

    async def failed() -> set[str]:
        async with httpx.AsyncClient() as prometheus:
            text = (await prometheus.get(f"http://127.0.0.1:{port}/metrics")).text
        return {
            line for line in text.splitlines() if line.startswith("pipeline_failed_lanes{") and line.endswith(" 1.0")
        }

    async def learn_stands_still() -> bool:
        return len(await failed()) == trial.client.partitions

    async with trial.flow(*streams) as flow:
        with trial.worker(metrics_port=str(port)) as worker:
            trial.client.watch(worker)
            await flow.send(SHARE)
            await trial.client.quiet()
            await asyncio.to_thread(bound, broker, changelog, TOO_SMALL_BYTES)
            trial.injected()
            await flow.send(SHARE)
            await trial.client.until(learn_stands_still, what="LEARN to stand still", within_s=RECOVERED_WITHIN_S)
            assert all('stage="learn"' in line for line in await failed())
            acknowledged = await trial.client.acknowledged(REWARDS)
            before = await trial.ledger_end()
            await flow.send(flow.left // 2)
            await trial.work_goes_on(before)
            await trial.client.all_read(DECISIONS)
            assert await trial.client.acknowledged(REWARDS) == acknowledged
            trial.client.watch()
            await asyncio.to_thread(worker.stop)
        # A worker that starts finds the setting, and refuses.
        await asyncio.to_thread(bound, broker, changelog, MAX_BATCH_BYTES)
        await asyncio.to_thread(trial.forget_the_dead)
        with trial.worker(environment={"PIPELINE_END_ON_FAILED_LANE": "1"}) as told:
            trial.client.watch(told)
            await trial.client.all_read(REWARDS)
            trial.client.watch()
            await asyncio.to_thread(bound, broker, changelog, TOO_SMALL_BYTES)
            await flow.send(flow.left // 2)
            assert await asyncio.to_thread(told.wait, RECOVERED_WITHIN_S) == EXIT_LANE_FAILED
        assert "lane-stopped stage=learn" in told.log.read_text("utf-8")
        await asyncio.to_thread(bound, broker, changelog, MAX_BATCH_BYTES)
        trial.is_over()
        await asyncio.to_thread(trial.forget_the_dead)
        with trial.worker() as mended:
            trial.client.watch(mended)
            await flow.send_rest()
            await trial.settle(*streams)
