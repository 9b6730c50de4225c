"""`[monitors]`: what is watched, and from where on it is told."""

from __future__ import annotations

from functools import partial

from pipeline.policy.monitors import THRESHOLDS, LabelRateRule, Monitors
from pipeline.policy.parsing.section import Section


def read_monitors(root: Section) -> Monitors:
    """Read the rules; what is not said has its default."""
    if not root.has("monitors"):
        return Monitors()
    section, default = root.section("monitors"), LabelRateRule()
    table = section.section("label_rate")
    rule = LabelRateRule(
        table.number("low", default.low, "a share below 1, such as 0.2", lambda share: 0.0 <= share < 1.0),
        table.number("high", default.high, "a multiple above 1, such as 5", lambda multiple: 1.0 < multiple <= 1e6),
        table.duration_ms("look", "10s", "7d", "10m"),
        holds=table.flag("hold", default=default.holds),
    )
    table.finish()
    sample = section.number("sample", 0.0, "a share of decisions, such as 0.05", lambda share: 0.0 <= share <= 1.0)
    declared = _read_thresholds(section.section("thresholds"))
    section.finish()
    return Monitors(rule, sample, declared)


def _read_thresholds(table: Section) -> tuple[tuple[str, float], ...]:
    found = []
    for name, known in sorted(THRESHOLDS.items()):
        expected = f"a number above 0, at most {known.highest:g} ({known.of}), such as {known.default:g}"
        value = table.number(name, known.default, expected, partial(_is_within, known.highest))
        if value != known.default:
            found.append((name, value))
    table.finish()
    return tuple(found)


def _is_within(highest: float, value: float) -> bool:
    return 0.0 < value <= highest
