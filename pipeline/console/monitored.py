"""What workers say of a policy's monitors → the rows of its page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.console.rows import Mark
from pipeline.monitor.monitors import BY_NAME, MONITORS
from pipeline.monitor.reading import WITHHELD
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.monitors import THRESHOLDS
from pipeline.status.facts import MonitorFacts

LABEL_RATE = "label_rate"
NOT_ASKED = "no worker is asked: start the console with --worker-metrics URL, once for each"
NOT_TOLD = "no worker has told of it yet: it looks when the policy is published, and then as often as `look` says"
_STATES: Mapping[str, tuple[str, Mark]] = {
    "red": ("red", "bad"),
    "well": ("as it should be", "ok"),
    "withheld": ("withheld", "note"),
}
"""In words."""


class MonitorRow(NamedTuple):
    """One monitor."""

    name: str
    sees: str
    state: str
    mark: Mark
    figures: str
    """The most remarkable first."""
    threshold: str
    """And what it is of."""
    source: str
    """Where the threshold is from."""
    within: str
    why: str
    """Why there is no figure; empty where there is one."""


def label_rate_row(
    definition: PolicyDefinition, alarm: tuple[str, bool] | None, ratio: float | None, *, is_asked: bool
) -> MonitorRow:
    """Return the row of the monitor that may hold publishing."""
    rule = definition.monitors.label_rate
    state, mark = _STATES["well"]
    if alarm is not None:
        word, waits = alarm
        state, mark = f"outcomes have {word}" + ("; publishing waits" if waits else ""), "bad"
    elif ratio is None:
        state, mark = _STATES["withheld"]
    return MonitorRow(
        LABEL_RATE,
        "rewards that came in a look, against what its decisions were worth by all before; it may hold publishing",
        state,
        mark,
        "" if ratio is None else f"came of expected {ratio:.2f}",
        f"{rule.low:g} to {rule.high:g} times what is expected; hold = {str(rule.holds).lower()}",
        "declared" if rule.low != 0.2 or rule.high != 5.0 else "default: expectations are off by less in calm times",
        "two looks",
        "" if mark != "note" else _withheld("no look has ended yet", is_asked=is_asked),
    )


def monitor_rows(definition: PolicyDefinition, told: Mapping[str, MonitorFacts], *, is_asked: bool) -> list[MonitorRow]:
    """Return the rows of all others, those that are red first."""
    rows = [_row(definition, monitor.name, told.get(monitor.name), is_asked=is_asked) for monitor in MONITORS]
    return sorted(rows, key=lambda row: ("bad", "ok", "note").index(row.mark))


def _row(definition: PolicyDefinition, name: str, told: MonitorFacts | None, *, is_asked: bool) -> MonitorRow:
    monitor, known = BY_NAME[name], THRESHOLDS[name]
    threshold = definition.monitors.threshold(name)
    why, figures = "", ""
    if told is None:
        why = _withheld(NOT_TOLD, is_asked=is_asked)
    elif told.withheld:
        why = WITHHELD.get(told.withheld, told.withheld)
    else:
        figures = "; ".join(
            f"{one.name.replace('_', ' ')}{f' of {one.of}' if one.of else ''} {one.value:.4g}" for one in told.figures
        )
    state, mark = _STATES["withheld" if why else "red" if told is not None and told.is_red else "well"]
    source = "declared" if threshold != known.default else known.source
    red_from = f"{threshold:g}: {known.of}"
    return MonitorRow(name, monitor.sees, state, mark, figures, red_from, source, monitor.within, why)


def _withheld(why: str, *, is_asked: bool) -> str:
    return why if is_asked else NOT_ASKED
