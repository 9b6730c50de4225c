"""No command can write without a record: there is one way to write, and each command goes it or only looks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pipeline.cli import cli

ROOT = Path(__file__).parents[3]

# Commands that change a running system. Each is played in tests/integration/test_audit.py.
CHANGE = {
    "backfill",
    "dead-letters replay",
    "doctor",
    "forget",
    "policy apply",
    "policy kill",
    "policy promote",
    "policy ramp",
    "policy revive",
    "policy rollout",
    "replay",
    "replay promote",
    "snapshot pin",
    "snapshot rollback",
    "snapshot unpin",
    "topics create",
}
# Commands that look, write files, or are the system themselves.
LOOK = {
    "advise",
    "analyze",
    "api-key",
    "audit list",
    "console",
    "dead-letters list",
    "dead-letters show",
    "demo",
    "evaluate",
    "event example",
    "export",
    "event validate",
    "policy show",
    "policy validate",
    "report",
    "serve",
    "simulate",
    "snapshot diff",
    "snapshot list",
    "snapshot show",
    "status",
    "tail",
    "train",
    "verify",
    "warm-start",
    "worker",
}
# What may write: the record's own way, and the parts of the system. A command that needs more belongs in neither list.
WRITERS = {
    "Outbox": {
        "audit/record.py",
        "checkpoint/write.py",
        "stream/app.py",
        "stream/state/restore.py",
        "stream/log/deployment.py",
        "demo/logged.py",
    },
    "AIOKafkaProducer": {"stream/log/outbox.py", "serve/delivery/delivery.py"},
    "Producer": {"brokers/embedded.py"},
    "create_topics": {"cli/topics.py", "cli/worker.py", "demo/stage.py", "doctor/fix.py", "stream/log/topics.py"},
    "incremental_alter_configs": {"doctor/fix.py"},
    "alter_configs": set(),
    "create_partitions": set(),
    "delete_topics": set(),
    "delete_records": set(),
    "alter_consumer_group_offsets": set(),
}


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join((*names, name)), command


def test_every_command_is_known_to_change_something_or_not():
    assert {name for name, _ in commands(cli)} == CHANGE | LOOK


@pytest.mark.parametrize(("name", "command"), list(commands(cli)))
def test_exactly_those_that_change_something_say_who_acts(name: str, command: click.Command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert ({"--actor", "--require-audit"} <= options) == (name in CHANGE)


def callers(name: str) -> set[str]:
    found = set()
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
            if called == name:
                found.add(path.relative_to(ROOT / "pipeline").as_posix())
    return found


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_there_is_no_other_way_to_write(name: str):
    assert callers(name) == WRITERS[name]
