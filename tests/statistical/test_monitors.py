"""All monitors over whole months: silent where life goes on as it does, and red soon after a fault of their kind.

A month is looked at four times a day, where a worker looks every ten minutes; the correction is for its 4,320 looks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pipeline.monitor.monitors import MONITORS, look
from pipeline.monitor.reading import Reading
from tests.monitored import A_DAY, BUCKET_MS, World, calm, rows_of, watched_policy

DAYS = 30
SEEN = 9 * A_DAY
"""Buckets that a look reaches back, and no more."""


def looked(rng, definition, buckets, world, first=SEEN) -> list[dict[str, Reading]]:
    """Look after each bucket, from the first on at which there is a week to compare with."""
    made = rows_of(rng, definition, buckets, world)
    month = max(1, 1 << ((32 * A_DAY).bit_length() - 1))
    found = []
    for newest in range(first, buckets):
        since = min(newest - SEEN, newest // month * month)
        rows = [row for bucket in made[max(0, since) : newest + 1] for row in bucket]
        found.append(look(definition, rows, newest, (newest + 1) * BUCKET_MS))
    return found


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("months", [2, pytest.param(200, marks=pytest.mark.faults)])
def test_in_calm_months_all_of_them_are_silent(months: int):
    rng = np.random.default_rng(78)
    definition = watched_policy()
    alarms: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for month in range(months):
        base = World(decisions=(400, 1_000, 4_000)[month % 3])
        days = [calm(rng, base) for _ in range(DAYS)]
        red = set()
        for readings in looked(rng, definition, DAYS * A_DAY, lambda bucket, days=days: days[bucket // A_DAY]):
            red |= {name for name, one in readings.items() if one.is_red}
            told.update(name for name, one in readings.items() if not one.withheld)
        alarms.update(red)
    # Every monitor had its say in nearly every look.
    assert min(told[monitor.name] for monitor in MONITORS) > months * (DAYS * A_DAY - SEEN) * 0.8, told
    # Stated: at most one month in a hundred, of each.
    assert all(count <= max(0, months // 100) for count in alarms.values()), alarms


AT = 10 * A_DAY
FAULTS = {
    "reward": (replace(World(), value=1.3), 1),
    "calibration": (replace(World(), buys=(0.2, 0.19, 0.18)), 1),
    "regret": (replace(World(), buys=(0.05, 0.5, 0.02)), 1),
    "features": (replace(World(), words=(0.15, 0.3, 0.5, 0.05)), 1),
    "unusual": (replace(World(), missing=0.3), 1),
    "association": (replace(World(), lift_of_age=-0.9, buys=(0.5, 0.5, 0.5)), 1),
    "draws": (replace(World(), draws=(0.62, 0.28, 0.1)), 1),
    "propensities": (replace(World(), draws=(0.75, 0.2, 0.05)), 1),
    "log": (replace(World(), shares=(0.99996, 0.00002, 0.00002), least=0.00002), 8),
    "fallbacks": (replace(World(), fallback=0.05), 1),
    "holdout": (replace(World(), held_out=0.03), 1),
    "delays": (replace(World(), late_s=1_500.0), 1),
}
"""By monitor: the world after the fault, and the days within which it is red."""


def test_every_monitor_has_a_fault_of_its_kind():
    assert FAULTS.keys() == {monitor.name for monitor in MONITORS}


@pytest.mark.parametrize("name", FAULTS)
def test_in_a_fault_of_its_kind_it_is_red_within_its_delay_and_not_before(name: str):
    rng = np.random.default_rng(79)
    broken, days = FAULTS[name]
    definition = watched_policy()
    buckets = AT + days * A_DAY + 1
    seen = looked(rng, definition, buckets, lambda bucket: World() if bucket < AT else broken)
    assert not any(readings[name].is_red for readings in seen[: AT - SEEN]), "before the fault"
    reds = [number for number, readings in enumerate(seen[AT - SEEN :]) if readings[name].is_red]
    assert reds, [readings[name] for readings in seen[AT - SEEN :]][-1]
