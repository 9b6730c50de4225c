from __future__ import annotations

import base64
import fcntl
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.brokers import Broker, default_cache_dir, running_broker
from pipeline.brokers.address import parse_addresses
from pipeline.brokers.embedded import PARTITIONS, EmbeddedBroker
from pipeline.brokers.folder import take_folder, taking_turns
from pipeline.brokers.kafka_jars import (
    find_java,
    has_jars,
    jars_folder,
    java_version,
    kafka_version,
    ops_file,
    resolve_jars,
)
from pipeline.brokers.local_kafka import render_properties
from pipeline.brokers.parent_watch import ParentWatch
from pipeline.brokers.ports import free_ports
from pipeline.brokers.storage import format_storage, new_cluster_id, read_cluster_id
from pipeline.errors import ConfigError, StateError, UnavailableError


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("kafka-1:9092", "kafka-1:9092"),
        ("10.0.0.1:9092,10.0.0.2:9093", "10.0.0.1:9092,10.0.0.2:9093"),
        (" a:1 , b:65535 ", "a:1,b:65535"),
        ("[::1]:9092", "[::1]:9092"),
    ],
)
def test_an_address_is_used_as_it_is_and_nothing_is_started(choice: str, expected: str, tmp_path: Path) -> None:
    with running_broker(choice, cache_dir=tmp_path) as broker:
        assert broker.bootstrap_servers == expected
        assert broker.supports_topic_creation
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "choice",
    ["", "kafak", "host", "host:", ":9092", "host:0", "host:65536", "host:x", "a b:1", "::1:9092", "kafka://a:1"],
)
def test_what_is_no_address_is_refused_with_what_is_accepted(choice: str) -> None:
    with pytest.raises(ConfigError, match=r"accepted: embedded, kafka, host:port") as caught:
        parse_addresses(choice)
    assert repr(choice) in str(caught.value)


def test_every_bad_address_of_a_list_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_addresses("good:1,bad,worse:0")
    assert [fault.split()[0] for fault in caught.value.faults[:-1]] == ["'bad'", "'worse:0'"]


def test_the_embedded_broker_answers_until_it_is_stopped() -> None:
    broker = EmbeddedBroker()
    host, _, port = broker.bootstrap_servers.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        pass
    broker.stop()
    broker.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


def test_the_embedded_broker_says_nothing_and_stays_on_loopback(capfd: pytest.CaptureFixture[str]) -> None:
    broker = EmbeddedBroker()
    broker.stop()
    assert broker.bootstrap_servers.startswith("127.0.0.1:")
    assert not broker.supports_topic_creation
    assert capfd.readouterr() == ("", "")


def test_the_embedded_broker_makes_topics_of_four_partitions(embedded: Broker) -> None:
    assert isinstance(embedded, EmbeddedBroker)
    topics = embedded._cluster.list_topics("first-asked-for-here", timeout=10).topics
    assert len(topics["first-asked-for-here"].partitions) == PARTITIONS


def test_the_properties_name_loopback_and_nothing_else() -> None:
    rendered = render_properties(ops_file("server.properties"), port=15001, controller_port=15002)
    properties = dict(line.split("=", 1) for line in rendered.splitlines() if line and not line.startswith("#"))
    assert "@PORT@" not in rendered
    assert "@CONTROLLER_PORT@" not in rendered
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:15001,CONTROLLER://127.0.0.1:15002"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:15001"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:15002"
    assert properties["auto.create.topics.enable"] == "false"
    assert "message.max.bytes" not in properties


def test_kafka_logs_to_a_file_only() -> None:
    appenders = [line for line in ops_file("log4j2.properties").splitlines() if ".type = " in line]
    assert "appender.file.type = RollingFile" in appenders
    assert not any("Console" in line for line in appenders)


def test_a_cluster_id_is_sixteen_bytes_and_no_option() -> None:
    name = new_cluster_id()
    assert not name.startswith("-")
    assert len(base64.urlsafe_b64decode(name + "==")) == 16
    assert new_cluster_id() != name


def test_the_cluster_id_is_read_from_the_storage(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("#\nnode.id=1\ncluster.id=abc-_1\nversion=1\n")
    assert read_cluster_id(tmp_path) == "abc-_1"
    (tmp_path / "data" / "meta.properties").write_text("node.id=1\n")
    with pytest.raises(StateError, match=r"holds no cluster\.id"):
        read_cluster_id(tmp_path)


def test_storage_is_formatted_only_once(tmp_path: Path) -> None:
    _program(tmp_path / "tool", "mkdir data; echo run >> runs; touch data/meta.properties")
    format_storage([str(tmp_path / "tool")], tmp_path)
    format_storage([str(tmp_path / "tool")], tmp_path)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_storage_that_cannot_be_formatted_says_why(tmp_path: Path) -> None:
    _program(tmp_path / "tool", "echo 'No space left on device' >&2; exit 1")
    with pytest.raises(UnavailableError, match="No space left on device"):
        format_storage([str(tmp_path / "tool")], tmp_path)


def test_free_ports_are_distinct_and_below_those_of_outgoing_connections() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    # 32768 is where Linux begins; every other system begins higher.
    assert all(1024 < port < 32768 for port in ports)


def test_free_ports_pass_over_one_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        drawn = iter([port, 15003])
        monkeypatch.setattr("pipeline.brokers.ports.secrets.choice", lambda _: next(drawn))
        assert free_ports(1) == (15003,)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('java version "1.8.0_402"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "25-ea" 2025-09-16', 25),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_tells_its_version(said: str, version: int | None) -> None:
    assert java_version(said) == version


def _program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path with no program on it but those that the test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path / "bin"


@pytest.mark.usefixtures("bare_path")
def test_without_java_the_message_says_what_to_install(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"no java in the path: install a JDK or JRE of version 17 or newer"),
        running_broker("kafka", cache_dir=tmp_path),
    ):
        pass


def test_a_java_that_is_too_old_is_refused_with_its_version(bare_path: Path) -> None:
    _program(bare_path / "java", """echo 'openjdk version "11.0.2"' >&2""")
    with pytest.raises(ConfigError, match=r"is Java 11: install a JDK or JRE of version 17 or newer"):
        find_java()


def test_java_home_goes_before_the_path(bare_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(bare_path / "java", """echo 'openjdk version "11"' >&2""")
    _program(tmp_path / "jdk" / "bin" / "java", """echo 'openjdk version "21"' >&2""")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert find_java() == str(tmp_path / "jdk" / "bin" / "java")


@pytest.mark.usefixtures("bare_path")
def test_without_maven_the_message_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no mvn on the path: install Apache Maven"):
        resolve_jars(tmp_path)


def test_jars_that_maven_cannot_resolve_leave_no_marker(bare_path: Path, tmp_path: Path) -> None:
    _program(bare_path / "mvn", "echo '[ERROR] Could not transfer artifact'; exit 1")
    with pytest.raises(UnavailableError, match=r"could not resolve .*Could not transfer artifact"):
        resolve_jars(tmp_path)
    assert not has_jars(tmp_path)


def test_jars_are_resolved_once_and_again_when_the_pom_changes(bare_path: Path, tmp_path: Path) -> None:
    _program(bare_path / "mvn", f"echo run >> {tmp_path}/runs")
    jars = resolve_jars(tmp_path)
    assert jars == tmp_path / "kafka" / f"jars-{kafka_version()}" == jars_folder(tmp_path)
    assert resolve_jars(tmp_path) == jars
    assert (tmp_path / "runs").read_text().count("run") == 1
    (jars / "resolved-pom.xml").write_text("another pom")
    resolve_jars(tmp_path)
    assert (tmp_path / "runs").read_text().count("run") == 2


def test_data_in_use_are_refused_with_the_address_to_use_instead(tmp_path: Path) -> None:
    first = take_folder(tmp_path, fresh=False)
    first.note("process 1, to be used as --broker 127.0.0.1:15001")
    with pytest.raises(ConfigError, match=r"already runs on the data .*--broker 127\.0\.0\.1:15001"):
        take_folder(tmp_path, fresh=False)
    first.release()
    take_folder(tmp_path, fresh=False).release()
    assert (tmp_path / "data").is_dir()


def test_data_stay_in_use_while_a_process_that_inherited_the_lock_lives(tmp_path: Path) -> None:
    folder = take_folder(tmp_path, fresh=False)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=(folder.lock,)):
        folder.release()
        with pytest.raises(ConfigError, match="already runs"):
            take_folder(tmp_path, fresh=False)
    take_folder(tmp_path, fresh=False).release()


def test_a_fresh_folder_goes_when_it_is_released(tmp_path: Path) -> None:
    folder = take_folder(tmp_path, fresh=True)
    assert folder.path.is_dir()
    folder.release()
    folder.release()
    assert not folder.path.exists()


def test_only_fresh_folders_that_nobody_holds_are_swept(tmp_path: Path) -> None:
    held = take_folder(tmp_path, fresh=True)
    left_over = tmp_path / "fresh-killed"
    left_over.mkdir()
    another = take_folder(tmp_path, fresh=True)
    assert not left_over.exists()
    assert held.path.is_dir()
    held.release()
    another.release()


def test_only_one_sets_up_at_a_time(tmp_path: Path) -> None:
    with taking_turns(tmp_path), (tmp_path / "setup.lock").open() as another, pytest.raises(BlockingIOError):
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / "setup.lock").open() as another:
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lifeline_kills_when_its_owner_is_killed() -> None:
    program = (
        "import subprocess, sys; from pipeline.brokers.parent_watch import ParentWatch\n"
        "child = subprocess.Popen(['/bin/sleep', '600'], start_new_session=True)\n"
        "line = ParentWatch(child.pid); print('tied', flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"tied\n"
    owner.kill()
    # The child has the same stdout, which ends when both have ended.
    owner.communicate(timeout=30)


def test_a_lifeline_that_was_cut_harms_nobody() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        ParentWatch(child.pid).cut()
        assert child.poll() is None
    assert child.returncode == 0


@pytest.mark.parametrize("configured", ["", "relative/folder"])
def test_the_cache_is_in_the_home_folder_unless_configured(
    configured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", configured)
    assert default_cache_dir() == tmp_path / ".cache" / "bandit-pipeline"


def test_the_configured_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "bandit-pipeline"
