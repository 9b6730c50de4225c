"""Do what is safe: make a topic that is missing, set a setting. Nothing here loses a record or moves one."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

from pipeline.audit import entry
from pipeline.audit.record import Operator, recorded
from pipeline.doctor.checks import Change
from pipeline.doctor.gather import WITHIN_S, client_settings
from pipeline.errors import UnavailableError
from pipeline.stream.log.topics import AUDIT, create_topics, topic_specs
from pipeline.stream.security import Address


def in_words(change: Change) -> str:
    """Say what a change is.

    >>> in_words(Change("rewards", "retention.ms", "-1")), in_words(Change("erasures", "", ""))
    ('set retention.ms = -1 on topic rewards', 'make topic erasures')
    """
    return (
        f"set {change.setting} = {change.value} on topic {change.topic}"
        if change.setting
        else f"make topic {change.topic}"
    )


async def make_changes(broker: Address, app_id: str, by: Operator, partitions: int, changes: Sequence[Change]) -> None:
    """Make changes, each topic's all at once, so that none is bounded and unbounded in between.

    Raises:
        UnavailableError: the broker refuses one.
    """
    missing = {change.topic for change in changes if not change.setting}
    specs = [spec for spec in topic_specs(app_id, partitions) if spec.name in missing]
    await create_topics(broker, [spec for spec in specs if spec.name == AUDIT])
    async with recorded(broker, by, entry.Change("topics", after=[in_words(change) for change in changes])):
        await create_topics(broker, specs)
        _alter(broker, changes)


def _alter(broker: Address, changes: Sequence[Change]) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            name,
            incremental_configs=[
                ConfigEntry(
                    each.setting,
                    each.value,
                    source=ConfigSource.DYNAMIC_TOPIC_CONFIG,
                    incremental_operation=AlterConfigOpType.SET,
                )
                for each in changes
                if each.topic == name and each.setting
            ],
        )
        for name in sorted({change.topic for change in changes if change.setting})
    ]
    if not resources:
        return
    admin = AdminClient(client_settings(broker))  # without a name it is gone before it is answered
    for resource, future in admin.incremental_alter_configs(resources, request_timeout=WITHIN_S).items():
        try:
            future.result(WITHIN_S + 1.0)
        except (KafkaException, TimeoutError) as error:
            raise UnavailableError(f"topic {resource.name} is not changed: {error!r}") from error
