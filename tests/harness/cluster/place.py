"""A cluster with the empty topics of one test."""

from __future__ import annotations

import asyncio

from pipeline.stream.log.topics import topic_specs
from tests.harness.cluster.cluster import Cluster
from tests.harness.command import pipeline
from tests.harness.place import Place, named
from tests.harness.silence import note_appending
from tests.harness.topics import delete_topics


async def on_cluster(cluster: Cluster, test: str, partitions: int) -> Place:
    """Make the topics anew as an operator does: the command itself says how they are replicated."""
    place = Place(cluster.bootstrap_servers, named(test), partitions)
    await delete_topics(place.broker, {spec.name for spec in topic_specs(place.app_id, partitions)})
    await pipeline(place, "topics", "create", "--partitions", str(partitions))
    await asyncio.to_thread(note_appending, place.broker)
    return place
