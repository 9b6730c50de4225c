"""What monitors cost: JOIN and LEARN whole with samples and without, in turn on the same events, and one look at all.

In CPU time, of the two stages alone: without the client, Faust and publishing, which cost the same either way, so that
the share told here is more than the worker's. Most monitors see the sums that LEARN keeps anyway, and cost a look.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
import numpy as np

from benchmarks.load import Load
from benchmarks.report import Row
from benchmarks.stages import Played, play
from pipeline.monitor.monitors import MONITORS, look
from tests.monitored import A_DAY, BUCKET_MS, World, rows_of, watched_policy

SHARES = (0.05, 1.0)
"""Of the decisions, that are sampled: what the docs advise, and all of them."""
DIMENSIONS = (0, 16)
DAYS = 9
"""That a look reaches back."""


def measure(decisions: int, repetitions: int) -> list[Row]:
    """Play each seed's events without a sample and with each."""
    rows: list[Row] = []
    for dimension in DIMENSIONS:
        runs: dict[float, list[Played]] = {}
        for seed in range(repetitions):
            for share in (0.0, *SHARES):
                click.echo(f"monitors, d={dimension}, sample {share:g}, run {seed + 1} of {repetitions}", err=True)
                more = f"[monitors]\nsample = {share}\n" if share else ""
                runs.setdefault(share, []).append(play(Load(decisions, dimension, "json", seed), more))
        for share, found in runs.items():
            if [run.records for run in found] != [run.records for run in runs[0.0]]:
                raise SystemExit(f"a sample of {share:g} has changed the ledger")
            rows.append(Row(f"JOIN and LEARN, d={dimension}, sample {share:g}", "CPU µs/event", tuple(map(_us, found))))
        for share in SHARES:
            ratios = tuple(_us(bare) / _us(run) for bare, run in zip(runs[0.0], runs[share], strict=True))
            rows.append(Row(f"throughput, d={dimension}, sample {share:g} / without", "times", ratios))
    return [*rows, _look(repetitions)]


def _us(run: Played) -> float:
    return run.join_us + run.learn_us


def _look(repetitions: int) -> Row:
    """One look, which a worker has in a thread every ten minutes: nine days of four buckets, three arms."""
    definition = watched_policy()
    buckets = rows_of(np.random.default_rng(5), definition, DAYS * A_DAY, lambda _: World())
    rows = [row for bucket in buckets for row in bucket]
    spent_ms = []
    for _ in range(repetitions):
        began_s = time.process_time()
        readings = look(definition, rows, DAYS * A_DAY - 1, DAYS * A_DAY * BUCKET_MS)
        spent_ms.append((time.process_time() - began_s) * 1e3)
    said: Sequence[str] = [name for name, reading in readings.items() if not reading.withheld]
    if len(said) < len(MONITORS):
        raise SystemExit(f"only {said} had anything to say")
    return Row("one look by all monitors", "CPU ms", tuple(spent_ms))
