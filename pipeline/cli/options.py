"""Options that several commands share; each has a PIPELINE_* twin of the same name everywhere."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import click

from pipeline.errors import ConfigError
from pipeline.stream.security import KafkaSecurity, SecuredBroker


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
registry_ids = click.option(
    "--registry-id",
    "registry_ids",
    envvar="PIPELINE_REGISTRY_ID",
    multiple=True,
    metavar="ID=NAME",
    help="A schema id of Confluent's registry, and what it frames: decision or outcome. [PIPELINE_REGISTRY_ID]",
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


def registry(pairs: tuple[str, ...]) -> dict[int, str]:
    """Read what `--registry-id` was given.

    Raises:
        ConfigError: not ID=NAME.
    """
    names: dict[int, str] = {}
    for pair in pairs:
        schema_id, _, name = pair.partition("=")
        if not schema_id.isdigit():
            raise ConfigError("--registry-id", [f"{pair!r} is not ID=NAME, such as 7=decision"])
        names[int(schema_id)] = name
    return names
