"""Scenario 14: a log that is not the one we knew.

A source made anew, records that retention took before they were read, state of another cluster, a changelog that was
lost. A worker stops by name or counts what is gone; whatever it then goes on with is exact.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.stream.log.topics import JOIN_TABLE, LEARN_TABLE, OUTCOMES, POLICIES, PUBLISH_TABLE, changelog_topic
from tests.faults.trial import Trial
from tests.harness.client import Client
from tests.harness.command import pipeline
from tests.harness.flow import Flow
from tests.harness.foreign import ForeignClient
from tests.harness.known import homepage, now
from tests.harness.logs import Logs
from tests.harness.place import on_kafka
from tests.harness.worker import Worker
from tests.samples import define, plain_outcome

SHORT, LONG = 200, 3_000
"""Decisions of each policy."""
STOPPED = 70
WITHIN_S = 30.0
BEHIND_S = 1.0
"""A fetch that waits at the broker is answered by then (`FETCH_WAIT_MS`)."""


def actions(trial: Trial) -> int:
    return LONG if trial.form.is_long else SHORT


async def made_anew(trial: Trial, logs: Logs, topic: str) -> tuple[str, str]:
    """Delete a topic and make it as the command line does; return its id before and after."""
    before = await asyncio.to_thread(logs.id_of, topic)
    await asyncio.to_thread(logs.delete, topic)
    await pipeline(trial.place, "topics", "create", "--partitions", str(trial.place.partitions))
    trial.injected()
    return before, await asyncio.to_thread(logs.id_of, topic)


async def stops(worker: Worker) -> str:
    """Wait until a worker has stopped by itself; return what it has said."""
    assert await asyncio.to_thread(worker.wait, WITHIN_S) == STOPPED
    return worker.last_words(60)


@pytest.mark.parametrize("meanwhile", ["running", "stopped"])
async def test_a_source_made_anew_stops_a_worker_that_is(trial: Trial, meanwhile: str) -> None:
    """
    outcomes   ├ first ─────────────┤ deleted, made anew ├ second ──────────────────────┤
    worker     ├────────────────────┤ 70                           told to accept it ├───
    """
    streams = trial.streams(actions(trial))
    logs = Logs(trial.place.broker, trial.place.partitions)
    foreign = ForeignClient(trial.client)
    for stream in streams:
        await trial.client.apply(define(stream.policy))
    async with Flow(foreign, *streams) as flow:
        worker = trial.worker()
        worker.start()
        trial.client.watch(worker)
        await flow.send(len(flow) // 2)
        await trial.client.quiet()
        trial.client.watch()
        if meanwhile == "stopped":
            await asyncio.to_thread(worker.stop)
        trial.forgotten.update(await asyncio.to_thread(logs.count, OUTCOMES))
        known, seen = await made_anew(trial, logs, OUTCOMES)
        foreign.reconnect()
        await flow.send(flow.left // 2)
        if meanwhile == "stopped":
            worker.start()
        said = await stops(worker)
        assert "outcomes/" in said
        assert "(another-topic)" in said
        assert f"seen topic id {seen}, expected {known}" in said
        (words,) = set(re.findall(r"--accept-log (\S+:start)", said))
        await asyncio.to_thread(trial.forget_the_dead)
        with trial.worker(accept_log=words) as accepting:
            trial.client.watch(accepting)
            await flow.send_rest()
            await trial.settle(*streams)


@pytest.mark.faults
async def test_policies_made_anew_stop_a_worker_which_goes_on_with_what_was_restored(long_trial: Trial) -> None:
    """As many stand in them again before anybody looks: an offset tells nothing."""
    trial = long_trial
    streams = trial.streams(actions(trial))
    logs = Logs(trial.place.broker, trial.place.partitions)
    for stream in streams:
        await trial.client.apply(define(stream.policy))
    async with Flow(ForeignClient(trial.client), *streams) as flow:
        worker = trial.worker()
        worker.start()
        trial.client.watch(worker)
        await flow.send(len(flow) // 2)
        await trial.client.quiet()
        trial.client.watch()
        worker.pause()
        known, seen = await made_anew(trial, logs, POLICIES)
        for stream in streams:
            await trial.client.apply(define(stream.policy))
        worker.resume()
        said = await stops(worker)
        assert f"policies was made anew while it was followed: seen topic id {seen}, expected {known}" in said
        await asyncio.to_thread(trial.forget_the_dead)
        with worker:
            trial.client.watch(worker)
            await flow.send_rest()
            await trial.settle(*streams)


async def test_what_retention_took_before_it_was_read_is_counted_and_what_is_left_settles(trial: Trial) -> None:
    """
    outcomes   ├ first ┤ · · · emptied ├ second ┤ · · · outlived ├ rest ──
    worker     ├───────┤ frozen        ├────────┤ stopped        ├────────     · clicks that nobody will ever read
    """
    streams = trial.streams(actions(trial))
    logs = Logs(trial.place.broker, trial.place.partitions)
    foreign = ForeignClient(trial.client)
    clicks = [plain_outcome(one["action_id"], one["decided_at_ms"] + 1, "gone") for _, one in streams[0].decisions]
    for stream in streams:
        await trial.client.apply(define(stream.policy))
    async with Flow(foreign, *streams) as flow:
        worker = trial.worker()
        worker.start()
        trial.client.watch(worker)
        for is_stopped in (False, True):
            await flow.send(len(flow) // 3)
            await trial.client.quiet()
            trial.client.watch()
            if is_stopped:
                await asyncio.to_thread(worker.stop)
            else:
                worker.pause()
                await trial.lasts(BEHIND_S)
            trial.forgotten.update(await asyncio.to_thread(logs.count, OUTCOMES))
            await foreign.observe(clicks)
            await asyncio.to_thread(logs.outlive if is_stopped else logs.empty, OUTCOMES)
            trial.injected()
            if is_stopped:
                worker.start()
            else:
                worker.resume()
            trial.client.watch(worker)
        await flow.send_rest()
        await trial.settle(*streams)
        told = re.findall(r"offsets-gone topic=outcomes .* count=(\d+)", worker.log.read_text("utf-8"))
        assert sum(map(int, told)) == 2 * len(clicks)


async def test_a_version_is_not_used_again_where_publish_s_changelog_was_lost(trial: Trial) -> None:
    streams = trial.streams(actions(trial))
    logs = Logs(trial.place.broker, trial.place.partitions)
    for stream in streams:
        await trial.client.apply(define(stream.policy))
    async with Flow(ForeignClient(trial.client), *streams) as flow:
        worker = trial.worker()
        with worker:
            trial.client.watch(worker)
            await flow.send(len(flow) // 2)
            await trial.client.quiet()
            trial.client.watch()
        await made_anew(trial, logs, changelog_topic(trial.place.app_id, PUBLISH_TABLE))
        with worker:
            trial.client.watch(worker)
            await flow.send_rest()
            await trial.settle(*streams)
        assert "version-learned" in worker.log.read_text("utf-8")


async def test_state_of_another_cluster_is_built_anew(trial: Trial, own_kafka: LocalKafka) -> None:
    """
    elsewhere   ├ a few decisions, left open ┤ ──── its state folder ──┐
    here        ├ many, in as many offsets and more ─────────┤ stopped ▼ ├ rest ──
    """
    streams = trial.streams(actions(trial))
    stranger = homepage(trial.seed + 1, actions(trial) // 4, now_ms=now())
    away = await asyncio.to_thread(on_kafka, own_kafka, trial.place.app_id, trial.place.partitions)
    strange = away.worker(trial.folder / "elsewhere")
    async with Client(away.broker, app_id=away.app_id, partitions=away.partitions) as client:
        await client.apply(define(stranger.policy))
        async with Flow(ForeignClient(client), stranger) as flow:
            with strange:
                client.watch(strange)
                await flow.send(len(flow))
                await client.quiet()
    for stream in streams:
        await trial.client.apply(define(stream.policy))
    async with Flow(ForeignClient(trial.client), *streams) as flow:
        with trial.worker("here") as worker:
            trial.client.watch(worker)
            await flow.send(2 * len(flow) // 3)
            await trial.client.quiet()
            trial.client.watch()
        trial.injected()
        with trial.worker("mistaken", state_dir=strange.state_dir) as mistaken:
            trial.client.watch(mistaken)
            await flow.send_rest()
            await trial.settle(*streams)
        rebuilt = re.findall(r"state-rebuilt topic=(\S+) .*it is of cluster", mistaken.log.read_text("utf-8"))
        tables = (JOIN_TABLE, LEARN_TABLE, PUBLISH_TABLE)
        assert set(rebuilt) == {changelog_topic(trial.place.app_id, table) for table in tables}
