"""A partition's RocksDB is brought up to its changelog, whatever was found on disk; and it has one owner."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import sys
import zlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rocksdict
from aiokafka.producer.transaction_manager import PidAndEpoch
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.errors import FencedError, LogChangedError, StateError
from pipeline.stream.failpoints import failpoint
from pipeline.stream.log import claim, topics
from pipeline.stream.log.continuity import Accepted, accepted_logs
from pipeline.stream.log.identity import Log, LogLookup
from pipeline.stream.state import changelog, restore, tables
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.tables import Database, due_key
from tests.harness.topics import make_specs

pytestmark = pytest.mark.kafka

STEPS = 40
KILLED_AT = 35
WITHIN_S = 60.0


class Bench:
    """A table of one partition; each opening is that of a worker of its own, in a folder of its own or a given one."""

    def __init__(self, broker: str, app_id: str, folder: Path) -> None:
        self.broker = broker
        self.app_id = app_id
        self.changelog = topics.changelog_topic(app_id, topics.LEARN_TABLE)
        self.folder = folder
        self.opened: list[DurablePartition] = []

    async def open(self, folder: str, accepted: Mapping[str, Accepted] | None = None) -> DurablePartition:
        path = self.folder / folder / "learn-0.db"
        table: Any = SimpleNamespace(name=topics.LEARN_TABLE, changelog=self.changelog, path=lambda _: path)
        opener = restore.Opener(
            table,
            self.broker,
            app_id=self.app_id,
            cache=rocksdict.Cache(1 << 20),
            index=lambda stored: int(stored[:8]),
            reach=failpoint(os.environ.get("PIPELINE_FAILPOINT", "")),
            accepted=accepted,
        )
        self.opened.append(await opener.open(0))
        return self.opened[-1]

    async def close(self) -> None:
        for partition in self.opened:
            await partition.close()


@pytest.fixture
async def bench(kafka: LocalKafka, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap_servers, f"r{zlib.crc32(request.node.name.encode())}", tmp_path)
    await make_specs(bench.broker, [topics.TopicSpec(bench.changelog, 1, {"cleanup.policy": "compact"})])
    yield bench
    await bench.close()


async def work(partition: DurablePartition, first: int = 0, last: int = STEPS) -> None:
    """Write rows of rising due times; every third step deletes the row of the step before."""
    for step in range(first, last):
        rows: dict[bytes, bytes | None] = {b"r%d" % step: b"%08d" % step + b"x" * 5_000}
        index = [(due_key(step, b"%d" % step), True)]
        if step % 3 == 2:
            rows[b"r%d" % (step - 1)] = None
            index.append((due_key(step - 1, b"%d" % (step - 1)), False))
        await partition.make_durable({}, rows, index)


def content(partition: DurablePartition) -> dict[bytes, bytes]:
    return dict(partition.rows.scan(b"r"))


def expected(last: int = STEPS) -> dict[bytes, bytes]:
    gone = {step - 1 for step in range(last) if step % 3 == 2}
    return {b"r%d" % step: b"%08d" % step + b"x" * 5_000 for step in range(last) if step not in gone}


async def test_a_new_disk_gets_all_rows_and_their_index(bench: Bench) -> None:
    await work(await bench.open("first"))
    second = await bench.open("second")
    assert content(second) == expected()
    # Restoring keeps index entries of rows that are gone: JOIN and LEARN pass over them.
    assert {row_id for _, row_id in second.rows.due(2**62, 10_000)} >= {key[1:] for key in expected()}


async def test_an_earlier_owner_writes_nothing_any_more(bench: Bench) -> None:
    zombie = await bench.open("first")
    await work(zombie, 0, 20)
    successor = await bench.open("second")
    with pytest.raises(FencedError, match=r"-learn-0 was claimed by another worker"):
        await work(zombie, 20, 21)
    await work(successor, 20)
    assert content(successor) == expected()
    assert content(await bench.open("third")) == expected()


async def test_an_owner_that_renews_its_claim_goes_on_and_an_earlier_one_can_t(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stream.log.claim.RENEW_AFTER_S", 0.0)
    zombie = await bench.open("first")
    await work(zombie, 0, 20)
    successor = await bench.open("second")
    with pytest.raises(FencedError):
        await work(zombie, 20, 21)
    await work(successor, 20)
    assert content(await bench.open("third")) == expected()


async def test_a_changelog_that_lost_its_beginning_is_not_taken_for_a_whole_one(bench: Bench) -> None:
    first = await bench.open("first")
    await work(first)
    end = first.rows.end().offset
    await first.close()
    bench.opened.clear()
    # As a cluster's defaults have it, until somebody mends them: the last rows are still there.
    await asyncio.to_thread(cut, bench, "compact,delete", end - 5)
    await asyncio.to_thread(cut, bench, "compact")
    with pytest.raises(LogChangedError, match=r"lost its beginning: seen a first offset of \d+, expected 0,") as caught:
        await bench.open("second")
    assert content(await bench.open("first")) == expected()
    word = caught.value.args[0].partition("--accept-log ")[2].partition("`")[0]
    assert content(await bench.open("third", accepted=accepted_logs([word]))).items() < expected().items()


def cut(bench: Bench, policy: str, before: int | None = None) -> None:
    """Give the changelog a `cleanup.policy`, and delete its records before an offset."""
    admin = AdminClient({"bootstrap.servers": bench.broker, "log_level": 0})
    entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, bench.changelog, incremental_configs=[entry])
    admin.incremental_alter_configs([topic])[topic].result(WITHIN_S)
    if before is not None:
        (told,) = admin.delete_records([TopicPartition(bench.changelog, 0, before)]).values()
        assert told.result(WITHIN_S).low_watermark == before


async def test_an_earlier_copy_of_the_disk_is_brought_up(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    first = await bench.open("first")
    await work(first, 0, 10)
    await first.close()
    shutil.copytree(bench.folder / "first", bench.folder / "copy")
    bench.opened.clear()
    await work(await bench.open("first"), 10)
    with caplog.at_level(logging.INFO):
        assert content(await bench.open("copy")) == expected()
    assert "state-rebuilt" not in caplog.text


async def test_a_restore_that_is_killed_on_the_way_goes_on_from_what_it_had_written(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    # By fetches of one step each. Of its 35 × 5 kB two buffers of 64 kB are full, so that one at least is on the disk.
    await work(await bench.open("first"))
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.test_restore", bench.broker, bench.app_id, str(bench.folder)),
        env=os.environ | {"PIPELINE_FAILPOINT": f"learn.part-restored:{KILLED_AT}"},
    )
    assert await killed.wait() == -signal.SIGKILL
    with caplog.at_level(logging.INFO):
        second = await bench.open("second")
    assert content(second) == expected()
    assert {row_id for _, row_id in second.rows.due(2**62, 10_000)} >= {key[1:] for key in expected()}
    (begun_at,) = re.findall(r"restored .* from=(\d+)", caplog.text)[-1:]
    assert 0 < int(begun_at) < STEPS
    assert "state-rebuilt" not in caplog.text
    await work(second, STEPS, 2 * STEPS)
    assert content(await bench.open("third")) == expected(2 * STEPS)


async def test_a_truncated_file_is_noticed_and_the_rows_are_rebuilt(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first = await bench.open("first")
    await work(first)
    first.rows._database.rdict.flush()
    await first.close()
    bench.opened.clear()
    (table, *_) = sorted((bench.folder / "first").rglob("*.sst"))
    table.write_bytes(table.read_bytes()[:-2_000])
    assert content(await bench.open("first")) == expected()
    assert "state-rebuilt" in caplog.text
    assert "Corruption" in caplog.text


async def test_a_damaged_block_stops_the_reader_and_is_rebuilt_at_the_next_start(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first = await bench.open("first")
    await work(first)
    first.rows._database.rdict.flush()
    await first.close()
    bench.opened.clear()
    table = max((bench.folder / "first").rglob("*.sst"), key=lambda path: path.stat().st_size)
    damaged = bytearray(table.read_bytes())
    damaged[1_000:3_000] = b"?" * 2_000
    table.write_bytes(damaged)
    again = await bench.open("first")
    with pytest.raises(StateError, match="Corruption"):
        content(again)
    await again.close()
    bench.opened.clear()
    assert content(await bench.open("first")) == expected()
    assert "it was found to be broken" in caplog.text


async def test_a_disk_of_a_changelog_that_was_made_anew_is_rebuilt_though_the_new_one_is_longer(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first = await bench.open("first")
    await first.make_durable({}, {b"rghost": b"%08d" % 7})
    await first.close()
    bench.opened.clear()
    await make_specs(bench.broker, [topics.TopicSpec(bench.changelog, 1, {"cleanup.policy": "compact"})])
    await work(await bench.open("second"))
    assert content(await bench.open("first")) == expected()
    assert "it was made anew" in caplog.text


async def test_a_disk_of_another_cluster_is_rebuilt(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = LogLookup.log

    async def of_another(self: LogLookup, partition: Any) -> Log:
        return (await ask(self, partition))._replace(cluster_id="another")

    with monkeypatch.context() as there:
        there.setattr(LogLookup, "log", of_another)
        first = await bench.open("first")
        await first.make_durable({}, {b"rghost": b"%08d" % 7})
        await first.close()
    bench.opened.clear()
    await work(await bench.open("second"))
    assert content(await bench.open("first")) == expected() | {b"rghost": b"%08d" % 7}  # from the changelog
    assert "it is of cluster another" in caplog.text


async def test_a_disk_whose_last_record_has_another_content_in_the_changelog_is_rebuilt(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first = await bench.open("first")
    await work(first)
    # As if the changelog had been cut off by an unclean election, and others had been written in its place since.
    first.rows.write({b"r%d" % (STEPS - 1): b"%08d" % 7 + b"ghost"}, first.rows.end().offset, ())
    await first.close()
    bench.opened.clear()
    assert content(await bench.open("first")) == expected()
    assert "stands in the changelog with another content" in caplog.text


async def test_a_claim_is_renewed_by_a_timer_while_nothing_is_written(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stream.log.claim.RENEW_AFTER_S", 0.2)
    with caplog.at_level(logging.INFO):
        owner = await bench.open("first")
        async with asyncio.timeout(30.0):
            while caplog.text.count("claim-renewed") < 2:  # noqa: ASYNC110  a line of the log wakes nobody
                await asyncio.sleep(0.05)
    await work(owner)
    assert content(await bench.open("second")) == expected()


async def test_an_owner_that_the_broker_has_forgotten_is_at_an_end_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await bench.open("first")
    # What the coordinator answers for a producer id that is not the name's: INVALID_PRODUCER_ID_MAPPING.
    manager = owner.outbox._claim._manager
    manager._pid_and_epoch = PidAndEpoch(manager.producer_id + 1_000, 0)
    monkeypatch.setattr(owner.outbox._claim, "_renew_after_s", 0.0)
    monkeypatch.setattr(claim, "RETRY_S", 3_600.0)  # at once: it is not asked again
    async with asyncio.timeout(60.0):
        with pytest.raises(FencedError, match="was forgotten by the broker"):
            await work(owner, 0, 1)


async def test_a_disk_older_than_tombstones_are_kept_is_rebuilt(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await bench.open("first")
    await work(first, 0, 10)
    await first.close()
    await work(await bench.open("second"), 10)
    bench.opened = bench.opened[1:]
    monkeypatch.setattr(restore, "OLDEST_MS", -1)
    assert content(await bench.open("first")) == expected()
    assert "state-rebuilt" in caplog.text


def test_a_folder_that_another_process_holds_is_an_error_that_names_it(tmp_path: Path) -> None:
    held = Database(tmp_path / "db", rocksdict.Cache(1 << 20))
    with pytest.raises(StateError, match=r"can't be opened.*lock"):
        Database(tmp_path / "db", rocksdict.Cache(1 << 20))
    held.close()


if __name__ == "__main__":
    # A worker that reads and writes in small pieces, and is killed by a failpoint.
    changelog.FETCH_BYTES = 6_000
    tables.WRITE_BUFFER_BYTES = 1 << 16
    asyncio.run(Bench(*sys.argv[1:3], Path(sys.argv[3])).open("second"))
