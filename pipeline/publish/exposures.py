"""How often each arm was shown lately: what caps and budgets go by, told to every serving node by the snapshot. Pure.

Decisions are counted in the statistics by time bucket, and old buckets together in spans (`models/sums/spans.py`), so a
window is counted in whole ones: it reaches from its length, and up to one span more, before the latest event time that
is in, over all segments. A span of the oldest is a 16th of the window at most; in a window of 32 buckets each is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.aged_rows import AgedRows, Row


def count_exposures(
    definition: PolicyDefinition, rows: Iterable[Row] | AgedRows, until_ms: int
) -> list[dict[str, Any]]:
    """Count the decisions of each arm, sorted by name, in every window that the policy's guardrails name.

    `until_ms` is the latest event time that is in, 0 before the first.
    """
    windows_ms = definition.guardrails.windows_ms
    if not windows_ms:
        return []
    arms = sorted(definition.arm_names)
    spans = AgedRows.of(rows).spans
    exposures = []
    for window_ms in windows_ms:
        first_bucket = (until_ms - window_ms) // definition.bucket_ms
        counts = dict.fromkeys(arms, 0)
        for span in reversed(spans):
            if span.last < first_bucket:
                break
            for arm, n in span.shown().items():
                if arm in counts:
                    counts[arm] += n
        exposures.append({"window_ms": window_ms, "until_ms": until_ms, "counts": list(counts.values())})
    return exposures
