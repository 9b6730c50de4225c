from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError

from pipeline.brokers import running_broker
from pipeline.brokers.kafka_jars import jars_folder
from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.ports import free_ports
from pipeline.errors import ConfigError, UnavailableError

pytestmark = pytest.mark.kafka

OPS = Path(__file__).parents[2] / "ops" / "kafka"


async def create_topic(servers: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def produce(servers: str, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
    try:
        await producer.start()
        for value in values:
            await producer.send_and_wait(topic, value, partition=1)
    finally:
        await producer.stop()


async def consume(servers: str, topic: str, count: int) -> list[bytes]:
    """Read `count` records of partition 1, as a member of no group."""
    async with AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 1)])
        return [(await consumer.getone()).value for _ in range(count)]


def wait_for(condition: Callable[[], bool], what: str, *, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s} s for {what}"
        time.sleep(0.02)


def listens(servers: str) -> bool:
    host, _, port = servers.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


async def test_a_declared_topic_carries_records(kafka: LocalKafka) -> None:
    await create_topic(kafka.bootstrap_servers, "carries-records")
    values = [b"%d" % i for i in range(100)]
    await produce(kafka.bootstrap_servers, "carries-records", values)
    assert await consume(kafka.bootstrap_servers, "carries-records", 100) == values


async def test_a_group_reads_on_where_it_committed(kafka: LocalKafka) -> None:
    await create_topic(kafka.bootstrap_servers, "group-reads-on")
    await produce(kafka.bootstrap_servers, "group-reads-on", [b"first", b"second"])
    seen = []
    for _ in range(2):
        async with AIOKafkaConsumer(
            "group-reads-on",
            bootstrap_servers=kafka.bootstrap_servers,
            group_id="group-reads-on",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=1,
        ) as consumer:
            record = await consumer.getone()
            seen.append(record.value)
            await consumer.commit({TopicPartition(record.topic, record.partition): record.offset + 1})
    assert seen == [b"first", b"second"]


async def test_an_aborted_transaction_is_not_seen(kafka: LocalKafka) -> None:
    await create_topic(kafka.bootstrap_servers, "aborted")
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id="aborted") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait("aborted", b"never", partition=1)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait("aborted", b"committed", partition=1)
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    ) as consumer:
        consumer.assign([TopicPartition("aborted", 1)])
        assert (await consumer.getone()).value == b"committed"


async def test_a_mistyped_topic_does_not_come_into_being(kafka: LocalKafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.describe_topics(["mistyped"])
        assert "mistyped" not in await admin.list_topics()
    finally:
        await admin.close()


async def test_what_was_acknowledged_survives_kill_9(own_kafka: LocalKafka) -> None:
    servers = own_kafka.bootstrap_servers
    await create_topic(servers, "survives")
    await produce(servers, "survives", [b"before"])
    own_kafka.kill()
    assert not own_kafka.is_running
    assert not listens(servers)
    own_kafka.restart()
    assert own_kafka.bootstrap_servers == servers
    await produce(servers, "survives", [b"after"])
    assert await consume(servers, "survives", 2) == [b"before", b"after"]


async def test_a_paused_kafka_is_silent_until_it_is_resumed(own_kafka: LocalKafka) -> None:
    servers = own_kafka.bootstrap_servers
    await create_topic(servers, "paused")
    own_kafka.pause()
    assert own_kafka.is_running
    silent = AIOKafkaProducer(bootstrap_servers=servers, request_timeout_ms=500)
    with pytest.raises(Exception, match="Unable to bootstrap"):
        await silent.start()
    await silent.stop()
    own_kafka.resume()
    deadline_s = time.monotonic() + 30.0
    while True:  # a host that has just been silent is not asked for a second or so
        try:
            await produce(servers, "paused", [b"after"])
        except KafkaConnectionError:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.2)
        else:
            break
    assert await consume(servers, "paused", 1) == [b"after"]


def test_stop_is_clean_and_can_be_said_twice(kafka_cache: Path) -> None:
    broker = LocalKafka.start(kafka_cache, fresh=True)
    process, folder = broker._process, broker._folder.path
    assert process is not None
    broker.stop()
    broker.stop()
    assert process.returncode == 128 + signal.SIGTERM  # how a JVM ends when its shutdown hooks have run
    assert not listens(broker.bootstrap_servers)
    assert not folder.exists()
    with pytest.raises(UnavailableError, match="does not run"):
        broker.pause()
    with pytest.raises(UnavailableError, match="start another one"):
        broker.restart()


def test_a_paused_kafka_can_be_stopped(kafka_cache: Path) -> None:
    broker = LocalKafka.start(kafka_cache, fresh=True)
    process = broker._process
    assert process is not None
    broker.pause()
    broker.stop()
    assert process.returncode == 128 + signal.SIGTERM


def test_a_kafka_that_cannot_start_tells_its_last_words(
    own_kafka: LocalKafka, kafka_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int(own_kafka.bootstrap_servers.rpartition(":")[2])
    monkeypatch.setattr("pipeline.brokers.local_kafka.free_ports", lambda count: (taken, *free_ports(count - 1)))
    with pytest.raises(UnavailableError, match="Address already in use"):
        LocalKafka.start(kafka_cache, fresh=True)


async def test_data_stay_from_one_start_to_the_next(kafka_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    jars = jars_folder(kafka_cache)
    (tmp_path / "kafka" / jars.name).symlink_to(jars)
    with running_broker("kafka", cache_dir=tmp_path) as first:
        await create_topic(first.bootstrap_servers, "stays")
        await produce(first.bootstrap_servers, "stays", [b"kept"])
        with (
            pytest.raises(ConfigError, match=f"--broker {first.bootstrap_servers}"),
            running_broker("kafka", cache_dir=tmp_path),
        ):
            pass
    with running_broker("kafka", cache_dir=tmp_path) as second:
        assert await consume(second.bootstrap_servers, "stays", 1) == [b"kept"]


@pytest.mark.usefixtures("kafka_cache")
def test_a_person_can_start_it_by_hand(tmp_path: Path) -> None:
    port, controller_port = free_ports(2)
    servers = f"127.0.0.1:{port}"
    environment = {**os.environ, "PORT": str(port), "CONTROLLER_PORT": str(controller_port)}
    folder = tmp_path / "a folder"
    with subprocess.Popen(
        [OPS / "start.sh", folder], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            wait_for(lambda: listens(servers) or process.poll() is not None, "Kafka to listen")
            asyncio.run(create_topic(servers, "by-hand"))
            asyncio.run(produce(servers, "by-hand", [b"kept"]))
        finally:
            process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert (folder / "logs" / "server.log").stat().st_size > 0
