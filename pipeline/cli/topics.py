"""`pipeline topics`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
import orjson

from pipeline.audit.entry import Change
from pipeline.audit.record import Operator, recorded
from pipeline.cli import options
from pipeline.doctor.checks import topic_findings
from pipeline.doctor.gather import BrokerFacts
from pipeline.stream.log.topics import (
    AUDIT,
    DEFAULT_PARTITIONS,
    TopicSpec,
    create_topics,
    deployed_partitions,
    existing_topics,
    topic_specs,
)
from pipeline.stream.security import Address


@click.group()
def topics() -> None:
    """The topics of a deployment."""


@topics.command()
@options.broker_address
@options.app_id
@options.partitions
@click.option(
    "--replication",
    envvar="PIPELINE_REPLICATION",
    type=click.IntRange(1, 32_767),
    help="Brokers that hold each partition; 3, or all where there are fewer. [PIPELINE_REPLICATION]",
)
@click.option(
    "--min-insync-replicas",
    envvar="PIPELINE_MIN_INSYNC_REPLICAS",
    type=click.IntRange(1, 32_767),
    help="Of them, how many must have a write before it counts; one fewer. [PIPELINE_MIN_INSYNC_REPLICAS]",
)
@options.as_json
@options.audited
def create(
    broker: Address,
    app_id: str,
    partitions: int | None,
    replication: int | None,
    min_insync_replicas: int | None,
    as_json: bool,
    by: Operator,
) -> None:
    """Create the topics that are missing; of those that exist, say what differs from what is needed.

    \b
    Example:
      pipeline topics create --broker 127.0.0.1:9092 --partitions 12
      pipeline topics create --partitions 12 --replication 3 --min-insync-replicas 2
    """
    count = partitions or asyncio.run(deployed_partitions(broker)) or DEFAULT_PARTITIONS
    specs = topic_specs(app_id, count)
    created = asyncio.run(_create(broker, by, specs, replication, min_insync_replicas))
    differing = [] if len(created) == len(specs) else _differing(broker, app_id, count)
    if as_json:
        click.echo(orjson.dumps({"created": created, "differing": differing}))
        return
    for name in created:
        click.echo(f"created {name}")
    click.echo(f"{len(created)} topics created")
    for told in differing:
        click.echo(f"differs: {told}", err=True)


async def _create(
    broker: Address, by: Operator, specs: Sequence[TopicSpec], replication: int | None, in_sync: int | None
) -> list[str]:
    """Create the topics that are missing, that of the records first: they tell of the others."""
    there = await existing_topics(broker)
    missing = [spec.name for spec in specs if spec.name not in there]
    if not missing:
        return await create_topics(broker, specs)  # which looks at their partitions
    audit = [spec for spec in specs if spec.name == AUDIT]
    created = await create_topics(broker, audit, replication=replication, in_sync=in_sync)
    change = Change("topics", before={"topics": sorted(there)}, after={"created": missing})
    async with recorded(broker, by, change):
        created += await create_topics(broker, specs, replication=replication, in_sync=in_sync)
    return sorted(created, key=missing.index)


def _differing(broker: Address, app_id: str, partitions: int) -> list[str]:
    """Return what is not as needed of topics that somebody else may have made."""
    found = topic_findings(BrokerFacts(broker, app_id).cluster(), app_id, partitions, str(broker))
    return [finding.in_words() for finding in found if finding.status != "ok"]
