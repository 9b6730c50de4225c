"""Time a step of this process: CPU seconds are the figure, the clock stands beside it."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from benchmarks.report import Row


def timed(
    name: str, unit: str, step: Callable[[], object], repetitions: int, *, times: int = 1, records: int = 1
) -> Row:
    """Return microseconds of CPU for a record of a step, warmed up once; a repetition is `times` steps."""
    step()
    wall_s, cpu_s = [], []
    for _ in range(repetitions):
        began_s, cpu_before_s = time.perf_counter(), time.process_time()
        for _ in range(times):
            step()
        wall_s.append(time.perf_counter() - began_s)
        cpu_s.append(time.process_time() - cpu_before_s)
    values = tuple(seconds / times / records * 1e6 for seconds in cpu_s)
    return Row(name, unit, values, tuple(wall_s), tuple(cpu_s), own_peak_mib())


def own_peak_mib() -> float:
    """Return the highest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
