"""`[monitors]`: what is watched, and from where on it is told."""

from __future__ import annotations

from pipeline.policy.monitors import LabelRateRule, Monitors
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
    section.finish()
    return Monitors(rule)
