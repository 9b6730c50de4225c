"""Every metric is on docs/metrics.md, which is made of the registries, and named by Prometheus's conventions."""

from __future__ import annotations

import re

import pytest

from tests.harness.metric_tables import Told, every_metric, page
from tests.harness.pages import TOP

PAGE = TOP / "docs" / "metrics.md"
MAKE = "python -m tests.harness.metric_tables > docs/metrics.md"
BOUNDED = {"policy", "segment", "arm", "operation", "status", "reason", "fate", "stage", "topic", "partition", "table"}
BOUNDED |= {"stream", "guardrail", "state", "monitor", "figure", "of"}
"""Labels whose values are of closed sets, or held to a bound."""


def test_the_page_is_what_the_registries_say():
    assert PAGE.read_text("utf-8") == page(), f"make it anew: {MAKE}"


def test_readme_leads_there():
    assert "(docs/metrics.md)" in (TOP / "README.md").read_text("utf-8")


@pytest.mark.parametrize("metric", every_metric(), ids=lambda metric: metric.name)
def test_a_name_says_its_unit_and_its_kind(metric: Told):
    assert re.fullmatch(r"pipeline_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert not re.search(r"_(ms|millis|mb|kb|minutes)(_|$)", metric.name)
    assert set(metric.labels) <= BOUNDED
    assert metric.text.endswith(".") or metric.text.endswith("0")


def test_no_name_stands_for_two_things():
    names = [metric.name for metric in every_metric()]
    assert len(set(names)) == len(names)
