"""Options that several commands share; each has a PIPELINE_* twin of the same name everywhere."""

from __future__ import annotations

import click

broker_address = click.option(
    "--broker",
    envvar="PIPELINE_BROKER",
    default="127.0.0.1:9092",
    show_default=True,
    metavar="HOST:PORT[,HOST:PORT]",
    help="Kafka's bootstrap servers. [PIPELINE_BROKER]",
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
    default=4,
    show_default=True,
    help="Partitions of the topics that carry events. [PIPELINE_PARTITIONS]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
