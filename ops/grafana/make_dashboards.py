"""The dashboards, as code: `python ops/grafana/make_dashboards.py` writes `dashboards/*.json`; a test holds them to it.

A panel is a title, a unit and queries with their legends; three stand in a row. What may have counted nothing yet ends
with `or vector(0)`, so that nothing is told from no data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT, A_ROW = 8, 8, 3
NOT_FALLBACKS = "policy|holdout|killed"
"""What decides on purpose."""
POLICY = 'policy=~"$policy"'
MONITORS = {
    "reward": "Rewards: mean and spread against the week before",
    "calibration": "Earned, over what contexts foretold",
    "regret": "Regret of a day, as a share",
    "features": "Features: stability index",
    "unusual": "Missing, unknown, at a bound: points more",
    "association": "Features and rewards: change of correlation",
    "draws": "Draws against propensities",
    "propensities": "Drawn, over propensities",
    "log": "Log: effective decisions",
    "fallbacks": "Fallbacks, as a share of the sample",
    "holdout": "Held out, over what was declared",
    "delays": "Delays: stability index and medians",
}
"""A panel each."""


class Panel(NamedTuple):
    """One picture."""

    title: str
    queries: Mapping[str, str]
    """By legend."""
    unit: str = "short"
    kind: str = "timeseries"


def _quantile(quantile: float, metric: str, by: str, where: str = "") -> str:
    return f"histogram_quantile({quantile}, sum by (le, {by}) (rate({metric}_bucket{{{where}}}[5m])))"


DASHBOARDS: Mapping[str, tuple[str, Sequence[Panel]]] = {
    "overview": (
        "Overview",
        (
            Panel("Processes that answer", {"{{job}}": "sum by (job) (up)"}, kind="stat"),
            Panel("Records unaccounted for: always 0", {"": "sum(abs(pipeline_records_unaccounted))"}, kind="stat"),
            Panel("Lanes that stand still: always 0", {"": "sum(pipeline_failed_lanes)"}, kind="stat"),
            Panel(
                "Decisions, by what decided",
                {"{{reason}}": "sum by (reason) (rate(pipeline_decisions_total[1m]))"},
                "reqps",
            ),
            Panel(
                "Time to decide",
                {
                    "p50": _quantile(0.5, "pipeline_request_seconds", "operation", 'operation="decide"'),
                    "p99": _quantile(0.99, "pipeline_request_seconds", "operation", 'operation="decide"'),
                },
                "s",
            ),
            Panel("Age of the snapshots", {"{{policy}}": "max by (policy) (pipeline_snapshot_age_seconds)"}, "s"),
            Panel("Stages behind", {"{{stage}}": "max by (stage) (pipeline_lag_seconds)"}, "s"),
            Panel(
                "Records read",
                {"{{stream}}": 'sum by (stream) (rate(pipeline_stream_records_total{fate="read"}[1m]))'},
                "ops",
            ),
            Panel(
                "Freshness: share of lanes that are behind",
                {"now": "pipeline:lanes_behind:ratio", "of the last hour": "pipeline:lanes_behind:ratio_1h"},
                "percentunit",
            ),
        ),
    ),
    "policy": (
        "Policy",
        (
            Panel(
                "Decisions, by arm",
                {"{{segment}} {{arm}}": f"sum by (segment, arm) (rate(pipeline_arm_decisions_total{{{POLICY}}}[5m]))"},
                "reqps",
            ),
            Panel(
                "Share of each arm",
                {
                    "{{arm}}": f"sum by (arm) (rate(pipeline_arm_decisions_total{{{POLICY}}}[5m])) / ignoring(arm) "
                    f"group_left sum(rate(pipeline_arm_decisions_total{{{POLICY}}}[5m]))"
                },
                "percentunit",
            ),
            Panel(
                "Fallbacks",
                {
                    "{{policy}} {{reason}}": "sum by (policy, reason) (rate("
                    f'pipeline_decisions_total{{{POLICY},reason!~"{NOT_FALLBACKS}"}}[5m])) or vector(0)'
                },
                "reqps",
            ),
            Panel(
                "Versions: published, and on nodes",
                {
                    "published {{policy}}": f"max by (policy) (pipeline_published_version{{{POLICY}}})",
                    "{{instance}} {{policy}}": f"pipeline_snapshot_version{{{POLICY}}}",
                },
            ),
            Panel(
                "Snapshots published",
                {"{{policy}}": f"sum by (policy) (rate(pipeline_snapshots_published_total{{{POLICY}}}[5m]))"},
                "ops",
            ),
            Panel(
                "Held by an operator",
                {"{{policy}}": f"max by (policy) (pipeline_held_policies{{{POLICY}}})"},
                kind="stat",
            ),
            Panel(
                "Outcomes: what came, over what was expected",
                {"{{policy}}": f"pipeline_label_rate_ratio{{{POLICY}}} or vector(1)"},
            ),
            Panel(
                "Outcomes have stopped or jump, publishing is held",
                {
                    "{{policy}} {{state}}": f"max by (policy, state) (pipeline_label_rate_alarm{{{POLICY}}})",
                    "{{policy}} held": f"max by (policy) (pipeline_publishing_held{{{POLICY}}})",
                },
                kind="stat",
            ),
            Panel(
                "Arms tried: coverage and entropy",
                {
                    "{{policy}} coverage": f"pipeline_arm_coverage_ratio{{{POLICY}}} or vector(1)",
                    "{{policy}} entropy": f"pipeline_arm_entropy_ratio{{{POLICY}}} or vector(1)",
                },
                "percentunit",
            ),
            Panel(
                "Monitors that are red",
                {
                    "{{policy}} {{monitor}}": (
                        f"max by (policy, monitor) (pipeline_monitor_alarm{{{POLICY}}}) or vector(0)"
                    )
                },
                kind="stat",
            ),
            *(
                Panel(
                    title,
                    {
                        "{{policy}} {{figure}} {{of}}": (
                            f'pipeline_monitor_figure{{{POLICY},monitor="{name}"}} or vector(0)'
                        )
                    },
                )
                for name, title in MONITORS.items()
            ),
            Panel(
                "Monitors that say nothing, and why",
                {"{{policy}} {{monitor}} {{reason}}": f"pipeline_monitor_withheld{{{POLICY}}} or vector(0)"},
                kind="stat",
            ),
            Panel(
                "Guardrails that changed a decision",
                {"{{guardrail}}": "sum by (guardrail) (rate(pipeline_guardrails_total[5m])) or vector(0)"},
                "reqps",
            ),
            Panel(
                "Requests left without an answer",
                {"{{reason}}": "sum by (reason) (rate(pipeline_unanswered_total[5m])) or vector(0)"},
                "reqps",
            ),
        ),
    ),
    "pipeline": (
        "Pipeline",
        (
            Panel(
                "Lag, records",
                {"{{stage}} {{topic}}": "sum by (stage, topic) (pipeline_lag_records)"},
            ),
            Panel("Lag, seconds", {"{{stage}} {{topic}}": "max by (stage, topic) (pipeline_lag_seconds)"}, "s"),
            Panel(
                "Records handled",
                {"{{stage}} {{topic}}": "sum by (stage, topic) (rate(pipeline_handled_records_total[1m]))"},
                "ops",
            ),
            Panel(
                "Where the records went",
                {"{{stream}} {{fate}}": 'sum by (stream, fate) (pipeline_records{fate!="read"})'},
            ),
            Panel(
                "Records refused",
                {
                    "{{stream}} {{fate}}": "sum by (stream, fate) (rate("
                    'pipeline_stream_records_total{fate=~"rejected.*"}[5m])) or vector(0)'
                },
                "ops",
            ),
            Panel("Decisions not settled", {"": "sum(pipeline_open_actions)"}),
            Panel("Event time behind the clock", {"": "max(pipeline_event_time_lag_seconds)"}, "s"),
            Panel("A step takes (p99)", {"{{stage}}": _quantile(0.99, "pipeline_step_seconds", "stage")}, "s"),
            Panel("A publish takes (p99)", {"": _quantile(0.99, "pipeline_publish_seconds", "job")}, "s"),
            Panel(
                "Partitions claimed",
                {"{{instance}} {{stage}}": "sum by (instance, stage) (pipeline_claimed_partitions)"},
            ),
            Panel(
                "A restore takes (mean)",
                {
                    "{{table}}": "sum by (table) (pipeline_restore_seconds_sum) / "
                    "sum by (table) (pipeline_restore_seconds_count)"
                },
                "s",
            ),
            Panel("Policies' records refused", {"": "sum(pipeline_policy_records_refused_total)"}, kind="stat"),
        ),
    ),
    "nodes": (
        "Nodes",
        (
            Panel(
                "Requests",
                {"{{operation}} {{status}}": "sum by (operation, status) (rate(pipeline_request_seconds_count[1m]))"},
                "reqps",
            ),
            Panel(
                "Time to decide (p99), by node",
                {"{{instance}}": _quantile(0.99, "pipeline_request_seconds", "instance", 'operation="decide"')},
                "s",
            ),
            Panel(
                "Share of failed decisions",
                {"5 minutes": "pipeline:decide_errors:ratio_5m", "1 hour": "pipeline:decide_errors:ratio_1h"},
                "percentunit",
            ),
            Panel("Connections", {"{{instance}}": "pipeline_connections"}),
            Panel("Strangers", {"{{instance}}": "pipeline_connections_strangers"}),
            Panel(
                "Refused or cut off",
                {"{{reason}}": "sum by (reason) (rate(pipeline_connections_refused_total[5m])) or vector(0)"},
                "reqps",
            ),
            Panel("Snapshots refused", {"{{instance}}": "increase(pipeline_snapshots_refused_total[5m])"}),
            Panel("CPU", {"{{job}} {{instance}}": "rate(process_cpu_seconds_total[1m])"}, "percentunit"),
            Panel("Memory", {"{{job}} {{instance}}": "process_resident_memory_bytes"}, "bytes"),
        ),
    ),
    "broker": (
        "Broker, as its clients see it",
        (
            Panel(
                "Records of nodes",
                {"{{fate}}": "sum by (fate) (rate(pipeline_delivery_records_total[1m]))"},
                "ops",
            ),
            Panel("Records of nodes that wait", {"{{instance}}": "pipeline_delivery_waiting"}),
            Panel("Those on disk", {"{{instance}}": "pipeline_delivery_spilled_bytes"}, "bytes"),
            Panel("Sent again", {"{{instance}}": "rate(pipeline_delivery_failures_total[5m])"}, "ops"),
            Panel("Partitions that take nothing", {"{{instance}}": "pipeline_delivery_stuck"}),
            Panel(
                "Fetched, not taken yet",
                {"{{stage}} {{topic}}": "sum by (stage, topic) (pipeline_fetched_waiting_bytes)"},
                "bytes",
            ),
            Panel(
                "Offsets gone before they were read",
                {"{{topic}}": "sum by (topic) (pipeline_offsets_gone_total) or vector(0)"},
                kind="stat",
            ),
            Panel("Partitions that wait for a registry", {"": "sum(pipeline_waits_for_registry)"}, kind="stat"),
            Panel(
                "State built anew",
                {"{{table}} {{reason}}": "sum by (table, reason) (pipeline_state_rebuilt_total) or vector(0)"},
                kind="stat",
            ),
        ),
    ),
}


def dashboard(uid: str) -> dict[str, Any]:
    """Return one as Grafana reads it."""
    title, panels = DASHBOARDS[uid]
    variable = {
        "name": "policy",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(pipeline_snapshot_version, policy)",
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }
    return {
        "uid": f"pipeline-{uid}",
        "title": title,
        "tags": ["pipeline"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"type": "dashboards", "title": "Pipeline", "tags": ["pipeline"], "asDropdown": False}],
        "templating": {"list": [variable] if uid == "policy" else []},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": number + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": {"x": number % A_ROW * WIDTH, "y": number // A_ROW * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def written(uid: str) -> str:
    """Return the file of one."""
    return json.dumps(dashboard(uid), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(written(name), "utf-8")
