"""How often each arm was shown lately: what caps and budgets go by, told to every serving node by the snapshot. Pure.

Decisions are counted in the statistics by time bucket, so a window is counted in whole buckets: it reaches from its
length, and up to one bucket more, before the latest event time that is in, over all segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.definition import PolicyDefinition


def count_exposures(
    definition: PolicyDefinition, rows: Sequence[tuple[RowKey, Statistics]], until_ms: int
) -> list[dict[str, Any]]:
    """Count the decisions of each arm, sorted by name, in every window that the policy's guardrails name.

    `until_ms` is the latest event time that is in, 0 before the first.
    """
    arms = sorted(definition.arm_names)
    exposures = []
    for window_ms in definition.guardrails.windows_ms:
        first_bucket = (until_ms - window_ms) // definition.bucket_ms
        counts = dict.fromkeys(arms, 0)
        for key, statistics in rows:
            if key.bucket >= first_bucket and key.arm in counts and not key.tally:
                counts[key.arm] += int(statistics.n)
        exposures.append({"window_ms": window_ms, "until_ms": until_ms, "counts": list(counts.values())})
    return exposures
