"""Options that several commands share; each has a PIPELINE_* twin of the same name everywhere."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from pipeline.audit.record import Operator
from pipeline.registry.settings import RegistrySettings
from pipeline.stream.security import KafkaSecurity, SecuredBroker

F = TypeVar("F", bound=Callable[..., Any])


def _secured(_: click.Context, __: click.Parameter, servers: str) -> SecuredBroker:
    """Put PIPELINE_KAFKA_* beside the address; they are no flags, as everybody on a machine sees those."""
    return SecuredBroker(servers, KafkaSecurity.from_environment(os.environ))


class Moment(click.ParamType):
    """A point in time: ISO 8601 (UTC where no zone is given), or epoch milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return epoch milliseconds."""
        text = str(value)
        if text.isdecimal():
            return int(text)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither a time such as 2025-01-31T12:00:00Z nor epoch milliseconds", param, ctx)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


broker_address = click.option(
    "--broker",
    envvar="PIPELINE_BROKER",
    default="127.0.0.1:9092",
    show_default=True,
    metavar="HOST:PORT[,HOST:PORT]",
    callback=_secured,
    help="Kafka's bootstrap servers; PIPELINE_KAFKA_* say how to speak to them. [PIPELINE_BROKER]",
)
app_id = click.option(
    "--app-id",
    envvar="PIPELINE_APP_ID",
    default="pipeline",
    show_default=True,
    help="Consumer group, and prefix of the changelog topics. [PIPELINE_APP_ID]",
)
partitions = click.option(
    "--partitions",
    envvar="PIPELINE_PARTITIONS",
    type=click.IntRange(1, 10_000),
    help="Partitions of the topics that carry events; as many as they have, 4 where there are none yet. "
    "[PIPELINE_PARTITIONS]",
)


def registry(command: F) -> F:
    """Give a command the options of a schema registry, as one argument `registry`."""

    @wraps(command)
    def with_settings(
        *args: Any, registry: str, registry_schemas: Path | None, registry_ids: tuple[str, ...], **others: Any
    ) -> Any:
        if registry_ids:
            click.echo(
                "--registry-id says nothing of how records are written, and has no effect: give --registry or "
                "--registry-schemas",
                err=True,
            )
        urls = tuple(url for url in registry.split(",") if url)
        settings = RegistrySettings.from_environment(urls, registry_schemas, os.environ)
        return command(*args, registry=settings, **others)

    options = (
        click.option(
            "--registry",
            envvar="PIPELINE_REGISTRY",
            default="",
            metavar="URL[,URL]",
            help="Schema registry with Confluent's API, for records in its frame; PIPELINE_REGISTRY_* say how to speak "
            "to it. [PIPELINE_REGISTRY]",
        ),
        click.option(
            "--registry-schemas",
            envvar="PIPELINE_REGISTRY_SCHEMAS",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of schemas by their ids, 17.avsc or 17.json, instead or beside. [PIPELINE_REGISTRY_SCHEMAS]",
        ),
        click.option("--registry-id", "registry_ids", envvar="PIPELINE_REGISTRY_ID", multiple=True, hidden=True),
    )
    for option in reversed(options):
        with_settings = option(with_settings)
    return cast("F", with_settings)


def audited(command: F) -> F:
    """Give a command that changes something who acts, as one argument `by`."""

    @wraps(command)
    def with_operator(*args: Any, actor: str | None, require_audit: bool, **others: Any) -> Any:
        by = Operator(actor or _user(), _command(), require_audit, lambda words: click.echo(words, err=True))
        return command(*args, by=by, **others)

    options = (
        click.option(
            "--actor",
            envvar="PIPELINE_ACTOR",
            metavar="NAME",
            help="Who acts, for the topic audit: a ticket, a person. user@host if not given. [PIPELINE_ACTOR]",
        ),
        click.option(
            "--require-audit",
            envvar="PIPELINE_REQUIRE_AUDIT",
            is_flag=True,
            help="Do nothing that can't be recorded there; if not given, it is said, and done. "
            "[PIPELINE_REQUIRE_AUDIT]",
        ),
    )
    for option in options:
        with_operator = option(with_operator)
    return cast("F", with_operator)


def _user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _command() -> str:
    """Return the command that runs, without the program's name."""
    names: list[str] = []
    context: click.Context | None = click.get_current_context()
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(names)


log_format = click.option(
    "--log-format",
    envvar="PIPELINE_LOG_FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or a JSON document a line, for a program that collects logs. [PIPELINE_LOG_FORMAT]",
)
metrics_host = click.option(
    "--metrics-host",
    envvar="PIPELINE_METRICS_HOST",
    default="127.0.0.1",
    show_default=True,
    help="Address of the listener for metrics alone. [PIPELINE_METRICS_HOST]",
)
metrics_port = click.option(
    "--metrics-port",
    envvar="PIPELINE_METRICS_PORT",
    type=click.IntRange(0, 65_535),
    help="Its port; without one there is no such listener. [PIPELINE_METRICS_PORT]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
