"""Scenario 15: topics that somebody else made, with a cluster's defaults; and partitions that somebody else adds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from pipeline.stream.log.topics import OUTCOMES, topic_specs
from tests.faults.trial import Trial
from tests.harness.command import pipeline

REFUSED, STOPPED = 1, 70
WITHIN_S = 30.0


async def test_topics_made_by_a_cluster_s_defaults_are_refused_and_mended(trial: Trial) -> None:
    await asyncio.to_thread(made_by_others, trial)
    worker = trial.worker()
    worker.start()
    assert await asyncio.to_thread(worker.wait, WITHIN_S) == REFUSED
    said = worker.last_words(40)
    for topic, setting in (
        ("decisions", "message.timestamp.type = CreateTime"),
        ("rewards", "retention.ms = "),
        (f"{trial.place.app_id}-join-changelog", "cleanup.policy = delete"),
        ("statistics", "max.message.bytes = 1048588"),
    ):
        assert f"topic {topic}: {setting}" in said
    assert "pipeline doctor --fix" in said
    trial.injected()
    await pipeline(trial.place, "doctor", "--fix", "--yes")
    streams = trial.streams()
    async with trial.flow(*streams) as flow:
        with trial.supervised("mended") as mended:
            trial.client.watch(mended)
            await flow.send_rest()
            await trial.settle(*streams)
            assert mended.ends == []


async def test_partitions_added_to_a_running_deployment_stop_it_before_any_is_half_read(trial: Trial) -> None:
    streams = trial.streams(trial.form.actions // 2)
    async with trial.flow(*streams) as flow:
        worker = trial.worker()
        worker.start()
        trial.client.watch(worker)
        await flow.send_rest()
        await trial.settle(*streams)
        ledger = await trial.ledger_end()
        trial.client.watch()
        grown = trial.place.partitions + 2
        await asyncio.to_thread(grow, trial, {OUTCOMES: grown})
        trial.injected()
        assert await asyncio.to_thread(worker.wait, WITHIN_S) == STOPPED
        for attempt in ("as it was told", "again"):
            said = worker.last_words(40)
            assert f"partitions of outcomes: {grown}; needed: {trial.place.partitions}" in said, attempt
            assert "partitions-added.md" in said
            worker.start()
            assert await asyncio.to_thread(worker.wait, WITHIN_S) == REFUSED
        assert await trial.ledger_end() == ledger


def made_by_others(trial: Trial) -> None:
    """Make all topics anew, with no setting of ours."""
    admin = AdminClient({"bootstrap.servers": trial.place.broker, "log_level": 0})
    specs = topic_specs(trial.place.app_id, trial.place.partitions)
    for told in admin.delete_topics([spec.name for spec in specs]).values():
        told.result(WITHIN_S)
    deadline_s = time.monotonic() + WITHIN_S
    while {spec.name for spec in specs} & set(admin.list_topics(timeout=WITHIN_S).topics):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    for told in admin.create_topics([NewTopic(spec.name, spec.partitions, 1) for spec in specs]).values():
        told.result(WITHIN_S)


def grow(trial: Trial, counts: Mapping[str, int]) -> None:
    """Let topics have so many partitions."""
    admin = AdminClient({"bootstrap.servers": trial.place.broker, "log_level": 0})
    for told in admin.create_partitions([NewPartitions(name, count) for name, count in counts.items()]).values():
        told.result(WITHIN_S)
