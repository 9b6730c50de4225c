"""Numbers that were wrong once, asked for as people do: by the command line, of a ledger on a broker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from pipeline.brokers import running_broker
from tests.harness.told import tell
from tests.samples import CLICK, Plain, define, plain_decision

BASE = {
    "algorithm": {"name": "beta_thompson"},
    "reward": {"low": 0.0, "high": 1.0, "outcomes": [CLICK]},
    "attribution": {"settle": "wait", "grace": "1h"},
    "exploration": {"floor": 0.0},
    "segments": {"default": "all"},
}
SLOTS, PAGES = 5, 1_000
BY_SLOT = {
    "default": "elsewhere",
    "rules": [{"name": f"slot{slot}", "when": {"slot": {"equals": str(slot)}}} for slot in range(SLOTS)],
}
PAGE: Plain = BASE | {"name": "page", "arms": [{"name": "a"}, {"name": "b"}], "segments": BY_SLOT}
SHOP: Plain = BASE | {"name": "shop", "arms": [{"name": "wine"}, {"name": "x"}, {"name": "y"}]}
HELD: Plain = BASE | {
    "name": "held",
    "arms": [{"name": "a"}, {"name": "b"}],
    "guardrails": {"control": "a", "holdout": {"share": 0.5}},
}


def five_slots() -> Iterator[tuple[Plain, float]]:
    """A page asks for five arms in a row; a pays .3 in even slots and .1 in odd ones, b the other way round."""
    rng = np.random.default_rng(5)
    for place in range(SLOTS * PAGES):
        slot, arm = place % SLOTS, int(rng.integers(2))
        rate = 0.3 if arm == slot % 2 else 0.1
        shown = {"arm": "ab"[arm], "segment": f"slot{slot}", "context": {"slot": str(slot)}, "eligible": ["a", "b"]}
        decision = plain_decision(f"p{place}", place, policy="page", probabilities=[0.5, 0.5], **shown)
        yield decision, float(rng.random() < rate)


def wine() -> Iterator[tuple[Plain, float]]:
    """Three arms alike; every other visitor is a minor. Wine pays .5, x .3 and y .1."""
    rng = np.random.default_rng(2)
    for place in range(4_000):
        arm = int(rng.integers(3))
        shown = {"arm": ("wine", "x", "y")[arm], "segment": "all", "context": {"age": 15.0 if place % 2 else 40.0}}
        chances = {"eligible": ["wine", "x", "y"], "propensity": 1 / 3, "probabilities": [1 / 3] * 3}
        decision = plain_decision(f"w{place}", place, policy="shop", subject_hash=f"u{place}", **shown, **chances)
        yield decision, float(rng.random() < (0.5, 0.3, 0.1)[arm])


def people() -> Iterator[tuple[Plain, float]]:
    """An A/A test: forty people come sixty times each, half held out; half of each half buy two of five times."""
    rng = np.random.default_rng(1)
    for place in range(40 * 60):
        person = place % 40
        is_held = person % 2 == 1
        chances = {"eligible": ["a", "b"], "propensity": 1.0 if is_held else 0.5}
        decision = plain_decision(
            f"h{place}",
            place,
            policy="held",
            segment="all",
            subject_hash=f"person{person}",
            snapshot_version=1,
            probabilities=[1.0, 0.0] if is_held else [0.5, 0.5],
            reason="holdout" if is_held else "policy",
            **chances,
        )
        yield decision, float(rng.random() < (0.4 if person // 2 % 2 else 0.0))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_broker("embedded", cache_dir=tmp_path_factory.mktemp("broker")) as started:
        for policy, rows in ((PAGE, five_slots()), (SHOP, wine()), (HELD, people())):
            asyncio.run(tell(started.bootstrap_servers, define(policy), list(rows)))
        yield started.bootstrap_servers


def asked(broker: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline", *arguments, "--broker", broker, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = orjson.loads(done.stdout)
    return answer


def doubly_robust(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        target["target"]: next(one for one in target["estimates"] if one["estimator"] == "DR")
        for target in answer["targets"]
    }


def test_a_page_that_asks_for_five_arms_in_a_row_has_each_slot_in_every_fold(broker):
    found = doubly_robust(asked(broker, "evaluate", "page", "--target", "page"))["page"]
    # The best arm of each slot pays .3. With a slot for a fold the policy knows nothing of the one it is asked about,
    # and earns .2. A standard error is sqrt(.3 · .7 · 2 / 5,000) = .009.
    assert found["value"] == pytest.approx(0.30, abs=4 * 0.009)


def test_what_a_file_with_rules_would_earn_is_what_a_node_would_show(broker, tmp_path: Path):
    rails = {
        "rule": ("", ADULTS),
        "retired": ("retired = true\n", ""),
        "holdout": ("", '[guardrails]\ncontrol = "y"\n[guardrails.holdout]\nshare = 0.5\n'),
    }
    arguments = []
    for name, (of_wine, rest) in rails.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(WRITTEN.format(of_wine=of_wine) + rest)
        arguments += ["--target", str(path)]
    found = doubly_robust(asked(broker, "evaluate", "shop", *arguments))
    values = {Path(name).stem: one["value"] for name, one in found.items()}
    # Adults wine .5, minors x .3; x for everybody; a half wine, and a half y. A standard error is below .02.
    assert values == pytest.approx({"rule": 0.40, "retired": 0.30, "holdout": 0.30}, abs=0.06)


def test_forty_people_who_come_back_are_no_difference(broker):
    found = asked(broker, "report", "held")
    assert (found["unit"], found["groups"]["policy"]["subjects"], found["groups"]["holdout"]["subjects"]) == (
        "subject",
        20,
        20,
    )
    lift = found["lift"]["difference"]
    assert lift["low"] < 0.0 < lift["high"]
    # People who buy .4 or 0: a deviation of .2, so 2 · 2.1 · .2 sqrt(2 / 20) = .27 wide; by decision it would be .06.
    assert lift["high"] - lift["low"] > 0.2
    assert found["holdout_share"]["p_value"] == 1.0


ADULTS = """
[guardrails]
control = "y"
[[guardrails.eligibility]]
arms = ["wine"]
only_when = { age = { at_least = 18 } }
"""
WRITTEN = """
name = "shop"
[[arms]]
name = "wine"
{of_wine}[[arms]]
name = "x"
[[arms]]
name = "y"
[segments]
default = "all"
[algorithm]
name = "beta_thompson"
[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "10s"
[attribution]
settle = "wait"
grace = "1h"
[exploration]
floor = 0.0
"""
