"""All monitors, and a look by all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.monitor import contexts, delays, draws, features, reasons, regret, rewards
from pipeline.monitor.compare import deviations_for
from pipeline.monitor.reading import Monitor, Reading
from pipeline.monitor.view import View
from pipeline.policy.definition import PolicyDefinition

MONITORS: tuple[Monitor, ...] = (
    rewards.MONITOR,
    contexts.CALIBRATION,
    regret.MONITOR,
    features.MONITOR,
    features.UNUSUAL,
    contexts.ASSOCIATION,
    draws.MONITOR,
    draws.CALIBRATED,
    draws.LOGGED,
    reasons.FALLBACKS,
    reasons.HOLDOUT,
    delays.MONITOR,
)
BY_NAME: Mapping[str, Monitor] = {monitor.name: monitor for monitor in MONITORS}


def look(
    definition: PolicyDefinition, rows: Iterable[tuple[RowKey, Statistics]], newest: int, event_time_ms: int
) -> dict[str, Reading]:
    """Return what each monitor says of a policy's rows by span, at an event time."""
    deviations = partial(deviations_for, look_ms=definition.monitors.label_rate.look_ms)
    view = View(definition, list(rows), newest, event_time_ms, deviations)
    return {monitor.name: monitor.read(view) for monitor in MONITORS}
