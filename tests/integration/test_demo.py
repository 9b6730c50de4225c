"""The demos from outside: the command in a process of its own, and what it prints."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REAL_DATA = ROOT.parent / "shared" / "data" / "open-bandit"
HEADER = ["", "timestamp", "item_id", "position", "click", "propensity_score", "user_feature_0", "user-item_affinity_0"]
ITEMS = 5
ENDED_WITHIN_S = 240


def write_campaign(folder: Path, rows: int, seed: int) -> Path:
    """Write a log in the layout of the Open Bandit dataset: a week, many more clicks than a shop has."""
    rng = random.Random(seed)  # noqa: S311  nothing is kept secret with it
    start = datetime(2019, 11, 24, tzinfo=UTC)
    folder.mkdir()
    (folder / "item_context.csv").write_text(",item_id\n", "utf-8")
    path = folder / "women.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for row, second in enumerate(sorted(rng.uniform(0, 7 * 86_400) for _ in range(rows))):
            item = rng.randrange(ITEMS)
            click = int(rng.random() < 0.1 * (item + 1))
            at = start + timedelta(seconds=second)
            writer.writerow([row, at, item, rng.randint(1, 3), click, 1 / ITEMS, f"{rng.getrandbits(64):x}", 0.5])
    return path


def counted(path: Path) -> dict[tuple[str, str], tuple[int, float]]:
    """Count rows and clicks by (position, item), without any code of the package."""
    shown: Counter[tuple[str, str]] = Counter()
    clicked: Counter[tuple[str, str]] = Counter()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["position"], row["item_id"])
            shown[key] += 1
            clicked[key] += int(row["click"])
    return {key: (count, float(clicked[key])) for key, count in shown.items()}


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command; end it if the test does not wait for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "demo", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


def report_of(*arguments: str) -> dict[str, Any]:
    """Run the command to its end; return the one JSON object that it prints."""
    with demo(*arguments, "--json") as process:
        printed, said = process.communicate(timeout=ENDED_WITHIN_S)
    assert process.returncode == 0, said
    report: dict[str, Any] = json.loads(printed)
    return report


def assert_is_the_count_of(report: dict[str, Any], path: Path) -> None:
    expected = counted(path)
    assert {(row["segment"], row["arm"]): (row["count"], row["reward_sum"]) for row in report["arms"]} == expected
    rows = sum(count for count, _ in expected.values())
    assert (report["decisions"], report["settled"]) == (rows, rows)
    assert report["outcomes"] == sum(clicks for _, clicks in expected.values())
    assert (report["rejected"], report["dead_letters"]) == (0, 0)
    for row in report["arms"]:
        # Beta(1, 1) is the prior, a click a success: mean (1 + clicks) / (2 + n).
        assert row["mean"] == pytest.approx((1 + row["reward_sum"]) / (2 + row["count"]))
        assert row["low"] < row["mean"] < row["high"]


def test_a_log_comes_out_as_it_is_counted(tmp_path: Path) -> None:
    path = write_campaign(tmp_path / "campaign", rows=600, seed=1)
    report = report_of("--log", "open-bandit", "--data", str(path.parent))
    assert_is_the_count_of(report, path)
    assert report["snapshot"].keys() == {"policy", "version", "id", "posterior_sha256"}


@pytest.mark.slow
@pytest.mark.parametrize("campaign", ["random/women", "bts/women"])
def test_the_real_log_comes_out_as_it_is_counted(campaign: str) -> None:
    path = REAL_DATA / campaign / "women.csv"
    if not path.exists():
        pytest.skip(f"the Open Bandit dataset is not at {REAL_DATA}")
    assert_is_the_count_of(report_of("--log", "open-bandit", "--data", str(path.parent)), path)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.usefixtures("kafka_cache")
def test_kafka_with_two_workers_comes_to_the_posterior_of_the_embedded_broker(tmp_path: Path) -> None:
    path = write_campaign(tmp_path / "campaign", rows=2_000, seed=2)
    log = ("--log", "open-bandit", "--data", str(path.parent))
    embedded = report_of(*log)
    kafka = report_of(*log, "--broker", "kafka", "--partitions", "6", "--workers", "2")
    assert_is_the_count_of(kafka, path)
    assert kafka["snapshot"]["posterior_sha256"] == embedded["snapshot"]["posterior_sha256"]


@pytest.mark.slow
def test_in_the_demo_the_best_arms_win(tmp_path: Path) -> None:
    picture = tmp_path / "regret.png"
    report = report_of("--visitors", "1500", "--picture", str(picture))
    assert report.keys() == {
        "decisions",
        "regret",
        "regret_uniform",
        "regret_ab",
        "freshness_ms",
        "best_arm_share",
        "snapshot",
        "settled",
        "rejected",
        "seconds",
        "picture",
    }
    assert 0 < report["decisions"] <= 1_500
    assert (report["settled"], report["rejected"]) == (report["decisions"], 0)
    assert report["regret"] < report["regret_uniform"] / 2
    assert report["best_arm_share"].keys() == {"new", "returning", "premium"}
    # More than half, so more than any other arm.
    assert min(report["best_arm_share"].values()) > 0.5
    assert 0 < report["freshness_ms"]["p50"] <= report["freshness_ms"]["p99"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_told_to_end_takes_its_processes_along(number: signal.Signals) -> None:
    with demo("--visitors", "1500") as process:
        children = until_it_has_children(process.pid, 3)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not [child for child in children if is_running(child)]


def test_a_worker_that_dies_ends_the_demo_with_the_end_of_its_log() -> None:
    with demo("--visitors", "1500") as process:
        worker = next(child for child in until_it_has_children(process.pid, 3) if "worker" in command_of(child))
        os.kill(worker, signal.SIGKILL)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "worker-1 ended early with code -9" in said
    assert "logs of all processes: " in said
    assert printed == ""


def until_it_has_children(parent: int, count: int) -> list[int]:
    """Wait until a process has children that run this package."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        children = [child for child in children_of(parent) if "pipeline" in command_of(child)]
        if len(children) == count:
            return children
        time.sleep(0.05)
    pytest.fail(f"the demo has not started {count} processes in 60 s")


def children_of(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def command_of(pid: int) -> str:
    return subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout


def is_running(pid: int) -> bool:
    return bool(command_of(pid).strip())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--log", "open-bandit"], "--log and --data go together"),
        (["--log", "open-bandit", "--data", ".", "--stay"], "--stay keeps the visitors' stage up"),
        (["--workers", "2"], "the embedded broker can serve one worker"),
        (["--workers", "8", "--broker", "kafka"], "only 4 of them would have a partition"),
    ],
)
def test_options_that_dont_go_together_are_refused(arguments: list[str], said: str) -> None:
    with demo(*arguments) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in errors
