"""`pipeline topics`."""

from __future__ import annotations

import asyncio

import click
import orjson

from pipeline.cli import options
from pipeline.stream.log.topics import create_topics, topic_specs
from pipeline.stream.security import Address


@click.group()
def topics() -> None:
    """The topics of a deployment."""


@topics.command()
@options.broker_address
@options.app_id
@options.partitions
@options.as_json
def create(broker: Address, app_id: str, partitions: int, as_json: bool) -> None:
    """Create the topics that are missing; those that exist must have the right number of partitions.

    \b
    Example:
      pipeline topics create --broker 127.0.0.1:9092 --partitions 12
    """
    created = asyncio.run(create_topics(broker, topic_specs(app_id, partitions)))
    if as_json:
        click.echo(orjson.dumps({"created": created}))
        return
    for name in created:
        click.echo(f"created {name}")
    click.echo(f"{len(created)} topics created")
