"""Read what LEARN has counted of a policy up to now: its rows by segment, arm and time bucket, from `statistics`."""

from __future__ import annotations

import numpy as np

from pipeline.codec.readable import Fields, readable
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Mark, PartialKey, Partials, base_from
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.topics import STATISTICS
from pipeline.stream.security import Address

KINDS = ("statistics", "statistics_mark", "statistics_base")


async def read_statistics(broker: Address, policy: str, generation: int) -> list[tuple[RowKey, Statistics]]:
    """Return the rows of a policy's generation that are whole, sorted by key.

    Raises:
        UnavailableError: no broker answers.
    """
    partials, tell = Partials(), PassedOver(STATISTICS)
    follower = TopicFollower(broker, STATISTICS)
    try:
        await follower.start()
        async for records in follower.batches_to_end():
            for record in records:
                pairs = [] if record.value is None else [(record.offset, record.value)]
                for _, name, fields in readable(record.partition, pairs, *KINDS, pass_over=tell):
                    _take(partials, name, fields, (policy, generation))
    finally:
        await follower.stop()
    return partials.by_bucket()


def _take(partials: Partials, name: str, fields: Fields, wanted: tuple[str, int]) -> None:
    if (fields["policy"], fields["generation"]) != wanted:
        return
    if name == "statistics":
        key = PartialKey(RowKey(*(fields[part] for part in RowKey._fields)), fields["source_partition"])
        row = Statistics(fields["dimension"], np.frombuffer(fields["sums"], dtype="<i8"))
        partials.stage(key, fields["ledger_offset"], row)
    elif name == "statistics_mark":
        partials.mark(fields["source_partition"], Mark(fields["ledger_offset"], fields["event_time_ms"]))
    elif not partials.is_replaced(base := base_from(fields)):
        partials.rebase(base)
