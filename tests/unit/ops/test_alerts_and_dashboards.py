"""Alerts and dashboards speak of metrics and pages that there are, and each alert is tried in its fault."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pipeline.brokers import default_cache_dir
from tests.harness.metric_tables import every_metric
from tests.harness.pages import TOP
from tests.harness.prometheus import Binaries, prometheus_binaries

FOLDER = TOP / "ops" / "prometheus"
TESTS = sorted(FOLDER.glob("*_test.yml"))
SUFFIX = re.compile(r"_(bucket|count|sum)$")


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


ALERTS = {rule["alert"]: rule for group in load("alerts.yml")["groups"] for rule in group["rules"]}
RECORDED = {rule["record"]: rule["expr"] for group in load("rules.yml")["groups"] for rule in group["rules"]}


@pytest.fixture(scope="module")
def binaries() -> Binaries:
    return prometheus_binaries(default_cache_dir())


@pytest.fixture(scope="module")
def dashboards() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_dashboards", TOP / "ops" / "grafana" / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked_for(expression: str) -> set[str]:
    """The metrics of ours in an expression; recorded ones are looked up in rules.yml."""
    found = {SUFFIX.sub("", name) for name in re.findall(r"\bpipeline_[a-z_]+", expression)}
    for name in re.findall(r"\bpipeline:[a-z_]+:[a-z0-9_]+", expression):
        found |= asked_for(RECORDED[name])
    return found


KNOWN = {SUFFIX.sub("", metric.name) for metric in every_metric()}


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(alert: dict[str, Any]):
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert re.fullmatch(r"\d+[mhd]", str(alert["for"]))
    assert alert["annotations"]["summary"].endswith(".")
    assert (TOP / alert["annotations"]["runbook_url"]).is_file()
    assert asked_for(alert["expr"]) <= KNOWN
    # A label of the summary is one that the alert has, else it would read `of partition `.
    labels = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))
    assert labels <= {label for metric in every_metric() for label in metric.labels} | {"instance"}


@pytest.mark.parametrize("expression", RECORDED.values(), ids=list(RECORDED))
def test_what_is_recorded_is_of_metrics_that_there_are(expression: str):
    assert asked_for(expression) <= KNOWN


def test_each_alert_is_tried_in_its_fault_and_all_of_them_in_a_calm_stretch():
    tried = [test for path in TESTS for test in load(path.name)["tests"]]
    (calm,) = [test for test in tried if test["name"] == "a calm stretch"]
    assert all(not asked["exp_samples"] for asked in calm["promql_expr_test"])
    calm_series = {SUFFIX.sub("", series["series"].partition("{")[0]) for series in calm["input_series"]} - {"up"}
    # In the calm stretch everything that any alert looks at is there, and well.
    assert calm_series == set().union(*(asked_for(alert["expr"]) for alert in ALERTS.values()))
    fired = {
        test["name"]
        for test in tried
        if [bool(asked["exp_samples"]) for asked in test["promql_expr_test"]] == [False, True]
        and all(f'alertname="{test["name"]}"' in asked["expr"] for asked in test["promql_expr_test"])
    }
    assert fired == set(ALERTS)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_finds_each_alert_firing_in_its_fault_and_silent_before(path: Path, binaries: Binaries):
    told = subprocess.run([binaries.promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_promtool_takes_the_configuration_that_is_shipped(binaries: Binaries):
    told = subprocess.run(
        [binaries.promtool, "check", "config", FOLDER / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_dashboards_are_what_their_code_says(dashboards: ModuleType):
    made = {f"{uid}.json": dashboards.written(uid) for uid in dashboards.DASHBOARDS}
    found = {path.name: path.read_text("utf-8") for path in (TOP / "ops/grafana/dashboards").glob("*.json")}
    assert found == made, "make them anew: python ops/grafana/make_dashboards.py"


def test_every_panel_asks_for_metrics_that_there_are(dashboards: ModuleType):
    panels = [panel for _, panels in dashboards.DASHBOARDS.values() for panel in panels]
    for panel in panels:
        assert panel.queries
        for expression in panel.queries.values():
            assert asked_for(expression) <= KNOWN, panel.title
