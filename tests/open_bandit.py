"""Where the Open Bandit dataset is, for the tests that need it; and logs in its layout, for those that don't."""

from __future__ import annotations

import csv
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PIPELINE_OPEN_BANDIT", ROOT.parent / "shared" / "data" / "open-bandit"))


def real_campaign(name: str) -> Path:
    """Return the folder of a real campaign, such as random/women, or skip."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the Open Bandit dataset is not at {DATA}: name its folder by PIPELINE_OPEN_BANDIT")
    return folder


def write_rows(folder: Path, rows: list[tuple[int, int, int, float]], *, apart_s: int = 1) -> Path:
    """Write (item, position, click, propensity) rows, a second apart if not told; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    start = datetime(2019, 11, 24, tzinfo=UTC)
    with (folder / "campaign.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "timestamp", "item_id", "position", "click", "propensity_score", "user_feature_0"])
        for row, (item, position, click, propensity) in enumerate(rows):
            writer.writerow([row, start + timedelta(seconds=row * apart_s), item, position, click, propensity, "aa"])
    return folder


def uniform_rows(count: int, rates: list[float], seed: int) -> list[tuple[int, int, int, float]]:
    """Draw rows of a uniform policy at positions 1 and 2, where item i is clicked at rates[i]."""
    rng = np.random.default_rng(seed)
    items = rng.integers(len(rates), size=count)
    clicks = rng.random(count) < np.array(rates)[items]
    positions = rng.integers(1, 3, count)
    return [(int(i), int(p), int(c), 1.0 / len(rates)) for i, p, c in zip(items, positions, clicks, strict=True)]
