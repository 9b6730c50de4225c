"""How a worker is, as orchestrators ask: alive, ready, caught up.

/healthz   200 while its loop answers: a process that does not is to be started again
/readyz    200 while every partition that it was given is claimed, restored and read; 503 in a rebalance, and for
           as long as a lane stands still
/caughtup  200 while no stage is further behind than CAUGHT_UP_MS: a rolling restart waits for it
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from pipeline.metrics.listener import Page, Pages
from pipeline.stream.log.lanes import Standing

ANSWERED_WITHIN_S = 5.0
CAUGHT_UP_MS = 10_000
"""Longer than any pause that belongs to work: a publish, a flush of RocksDB, an idle tick."""


class LaneHealth(NamedTuple):
    """One partition of a stage."""

    stage: str
    partition: int
    is_open: bool
    has_failed: bool


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """All that the pages say."""

    is_ready: bool
    is_caught_up: bool
    detail: str
    """What keeps it from either."""
    lanes: int
    """Partitions of stages that it was given."""
    opened: int
    """Those that are claimed, restored and read."""
    failed: list[str]
    """Those that stand still, as `stage/partition`."""
    lag_records: dict[str, int]
    """By stage."""
    lag_ms: dict[str, int]
    """By stage, of the partition that is furthest behind."""


def worker_health(
    now_ms: int, lanes: Sequence[LaneHealth], standings: Sequence[Standing], *, is_assigned: bool
) -> WorkerHealth:
    """Judge lanes and how far they are. Pure.

    >>> lane, behind = LaneHealth("join", 0, True, False), Standing("join", "outcomes", 0, 7, 1_000, 0)
    >>> health = worker_health(31_000, [lane], [behind], is_assigned=True)
    >>> health.is_ready, health.is_caught_up, health.detail
    (True, False, 'join is 7 records, 30.0 s behind')
    """
    failed = [f"{lane.stage}/{lane.partition}" for lane in lanes if lane.has_failed]
    opened = sum(lane.is_open for lane in lanes)
    records: dict[str, int] = {}
    ages_ms: dict[str, int] = {}
    for each in standings:
        records[each.stage] = records.get(each.stage, 0) + each.lag_records
        ages_ms[each.stage] = max(ages_ms.get(each.stage, 0), each.lag_ms(now_ms))
    late = [stage for stage, age_ms in ages_ms.items() if age_ms > CAUGHT_UP_MS]
    faults = []
    if not is_assigned:
        faults.append("no partitions are assigned, or they are being moved")
    if failed:
        faults.append(f"stand still, see ops/runbooks/lane-stopped.md: {', '.join(failed)}")
    elif opened < len(lanes):
        faults.append(f"{len(lanes) - opened} of {len(lanes)} partitions of stages are being restored")
    is_ready = not faults
    faults += [f"{stage} is {records[stage]} records, {ages_ms[stage] / 1000:.1f} s behind" for stage in late]
    return WorkerHealth(
        is_ready, not faults, "; ".join(faults) or "nothing", len(lanes), opened, failed, records, ages_ms
    )


def health_pages(health: Callable[[], WorkerHealth], loop: asyncio.AbstractEventLoop) -> Pages:
    """Return the pages; each is answered by what the loop says, and so tells that it runs."""

    async def read() -> WorkerHealth:
        return health()

    def answer(status: Callable[[WorkerHealth], bool]) -> Callable[[], Page]:
        def page() -> Page:
            try:
                told = asyncio.run_coroutine_threadsafe(read(), loop).result(ANSWERED_WITHIN_S)
            except TimeoutError:
                return Page(503, {"detail": f"the worker's loop has not answered for {ANSWERED_WITHIN_S:g} s"})
            return Page(200 if status(told) else 503, asdict(told))

        return page

    return {
        "/healthz": answer(lambda _: True),
        "/readyz": answer(lambda told: told.is_ready),
        "/caughtup": answer(lambda told: told.is_caught_up),
    }
