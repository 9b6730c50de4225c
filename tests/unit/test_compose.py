from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pipeline.brokers.kafka_jars import kafka_version
from pipeline.cli import cli
from pipeline.stream.security import PREFIX, KafkaSecurity

TOP = Path(__file__).parents[2]


def known_variables() -> set[str]:
    """The environment twins of every option of every command."""
    known = {f"{PREFIX}{each.name.upper()}" for each in fields(KafkaSecurity)}
    waiting: list[click.Command] = [cli]
    while waiting:
        command = waiting.pop()
        for option in command.params:
            names = option.envvar or ()
            known |= {names} if isinstance(names, str) else set(names)
        if isinstance(command, click.Group):
            context = click.Context(command)
            found = [command.get_command(context, name) for name in command.list_commands(context)]
            waiting += [each for each in found if each is not None]
    return known


def command_of(words: list[str]) -> click.Command:
    """The command that some words name."""
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None, words
        command = found
    return command


def load(path: str) -> Any:
    return yaml.safe_load((TOP / path).read_text("utf-8"))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found = load("docker-compose.yml")["services"]
    # A site puts digests in place of tags by a variable; what is tried here is the default.
    for service in found.values():
        service["image"] = re.sub(r"^\$\{[A-Z]+_IMAGE:-(.+)\}$", r"\1", service["image"])
    return found


def tag(image: str) -> str | None:
    found = re.fullmatch(r"[a-z0-9./-]+:([A-Za-z0-9._-]+)", image)
    return found[1] if found else None


def test_the_stack_is_kafka_two_workers_a_serving_node_and_its_gauges(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {"kafka", "topics", "worker-1", "worker-2", "serve", "prometheus", "grafana"}


def test_every_image_is_pinned_by_a_tag_that_names_a_version(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        version = tag(service["image"])
        assert version is not None, name
        assert re.search(r"\d+\.\d+", version), name


def test_the_dockerfile_builds_on_pinned_images_and_does_not_run_as_root() -> None:
    lines = (TOP / "ops/Dockerfile").read_text("utf-8").splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert bases == {"${PYTHON_IMAGE}"}
    bases = {line.split("=", 1)[1] for line in lines if line.startswith("ARG PYTHON_IMAGE=")}
    assert len(bases) == 1
    assert all(re.search(r"\d+\.\d+", tag(base) or "") for base in bases)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["pipeline"]


def test_what_the_dockerfile_copies_exists_and_is_let_in() -> None:
    lines = (TOP / "ops/Dockerfile").read_text("utf-8").splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    sources = {source for copy in copies for source in copy}
    let_in = (TOP / "ops/Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert sources == {line.removeprefix("!") for line in let_in if line.startswith("!")}
    assert all((TOP / source).exists() for source in sources)


def test_what_the_dockerfile_imports_is_there() -> None:
    imported = re.findall(r"import (pipeline[\w.]*)", (TOP / "ops/Dockerfile").read_text("utf-8"))
    assert imported
    for name in imported:
        assert importlib.util.find_spec(name) is not None, name


def test_every_published_port_is_on_loopback(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", str(port))] == []
    assert not any("network_mode" in service for service in services.values())


def test_no_port_is_published_twice(services: dict[str, dict[str, Any]]) -> None:
    published = [port.split(":")[1] for service in services.values() for port in service.get("ports", [])]
    assert len(set(published)) == len(published)


def test_every_variable_is_one_that_the_command_line_knows(services: dict[str, dict[str, Any]]) -> None:
    used = {name for service in services.values() for name in service.get("environment", {})}
    used |= set(re.findall(r"\bPIPELINE_[A-Z_]+", (TOP / "ops/Dockerfile").read_text("utf-8")))
    assert {name for name in used if name.startswith("PIPELINE_")} <= known_variables()


def test_every_mounted_file_exists(services: dict[str, dict[str, Any]]) -> None:
    mounted = [volume for service in services.values() for volume in service.get("volumes", [])]
    files = [volume.split(":")[0] for volume in mounted if volume.startswith(".")]
    assert files
    assert [path for path in files if not (TOP / path).exists()] == []


def test_every_named_volume_is_declared_and_used(services: dict[str, dict[str, Any]]) -> None:
    mounted = [volume for service in services.values() for volume in service.get("volumes", [])]
    named = {volume.split(":")[0] for volume in mounted if not volume.startswith(".")}
    assert named == set(load("docker-compose.yml")["volumes"])


def test_each_worker_keeps_its_state_in_a_volume_of_its_own(services: dict[str, dict[str, Any]]) -> None:
    workers = [service for service in services.values() if service.get("command") == ["worker"]]
    assert len(workers) == 2
    assert len({worker["volumes"][0].split(":")[0] for worker in workers}) == 2
    # The Dockerfile sets PIPELINE_STATE_DIR to the folder that is mounted.
    state_dir = re.search(r"PIPELINE_STATE_DIR=(\S+)", (TOP / "ops/Dockerfile").read_text("utf-8"))
    assert state_dir is not None
    assert {worker["volumes"][0].split(":")[1] for worker in workers} == {state_dir[1]}


def test_the_image_and_the_jars_are_of_one_kafka(services: dict[str, dict[str, Any]]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{kafka_version()}"


def test_prometheus_asks_processes_that_exist_on_their_metrics_port(services: dict[str, dict[str, Any]]) -> None:
    jobs = load("ops/prometheus/prometheus.yml")["scrape_configs"]
    targets = [target for job in jobs for config in job["static_configs"] for target in config["targets"]]
    assert targets
    for target in targets:
        service, _, port = target.partition(":")
        assert services[service]["environment"]["PIPELINE_METRICS_PORT"] == port


def test_dashboards_ask_the_provisioned_source() -> None:
    sources = load("ops/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    for path in (TOP / "ops/grafana/dashboards").glob("*.json"):
        panels = json.loads(path.read_text("utf-8"))["panels"]
        assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"] for source in sources}


def test_grafana_finds_its_dashboards_where_they_are_mounted(services: dict[str, dict[str, Any]]) -> None:
    providers = load("ops/grafana/provisioning/dashboards/pipeline.yml")["providers"]
    mounted = {volume.split(":")[1] for volume in services["grafana"]["volumes"]}
    assert {provider["options"]["path"] for provider in providers} <= mounted
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(
        tuple(provider["options"]["path"] for provider in providers)
    )
