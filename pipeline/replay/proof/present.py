"""Read what LEARN has counted of a policy up to now: its rows by segment, arm and time bucket, from `statistics`."""

from __future__ import annotations

import numpy as np

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Mark, PartialKey, Partials, base_from
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import STATISTICS
from pipeline.stream.security import Address


async def read_statistics(broker: Address, policy: str, generation: int) -> list[tuple[RowKey, Statistics]]:
    """Return the rows of a policy's generation that are whole, sorted by key.

    Raises:
        UnavailableError: no broker answers.
    """
    partials = Partials()
    follower = TopicFollower(broker, STATISTICS)
    try:
        await follower.start()
        async for records in follower.batches_to_end():
            for record in records:
                if record.value is not None:
                    _take(partials, record.value, (policy, generation))
    finally:
        await follower.stop()
    return list(partials.rows())


def _take(partials: Partials, value: bytes, wanted: tuple[str, int]) -> None:
    name, fields = avro.decode(value)
    if (fields["policy"], fields["generation"]) != wanted:
        return
    if name == "statistics":
        key = PartialKey(RowKey(*(fields[part] for part in RowKey._fields)), fields["source_partition"])
        row = Statistics(fields["dimension"], np.frombuffer(fields["sums"], dtype="<i8"))
        partials.stage(key, fields["ledger_offset"], row)
    elif name == "statistics_mark":
        partials.mark(fields["source_partition"], Mark(fields["ledger_offset"], fields["event_time_ms"]))
    elif name == "statistics_base" and not partials.is_replaced(base := base_from(fields)):
        partials.rebase(base)
