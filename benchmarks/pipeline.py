"""The whole worker on topics that are full, one process and two, and programs of the same work in the same run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from benchmarks import worker
from benchmarks.peers import stream_programs
from benchmarks.report import Row

KINDS = ((0, "json"), (16, "json"), (16, "avro"))
"""Entries of the context vector, and what the records are written in."""
WIDE = (64, "json")
PEER_DECISIONS = 20_000
"""As many as the slowest plays in a quarter of a minute."""
PEER_DIMENSION = 16


def measure(decisions: int, repetitions: int, *, with_peers: bool = True) -> list[Row]:
    """Run every case on a fresh local Kafka each time."""
    rows: list[Row] = []
    for dimension, encoding in (*KINDS, WIDE):
        click.echo(f"worker, d={dimension}, {encoding}: {repetitions} runs of {decisions} decisions", err=True)
        rows += worker.measure(decisions, dimension, encoding, repetitions)
    click.echo(f"two workers: {repetitions} runs", err=True)
    rows += worker.measure(decisions, 16, "json", repetitions, processes=2)
    if with_peers:
        rows += compare(min(decisions, PEER_DECISIONS), repetitions)
    return rows


def compare(decisions: int, repetitions: int) -> list[Row]:
    """Run the worker and each peer in turn on the same events; tell each, and the ratios."""
    ours: list[worker.Run] = []
    theirs: dict[str, list[worker.Run]] = {}
    peers = stream_programs.peers()
    for seed in range(repetitions):
        click.echo(f"beside the peers, run {seed + 1} of {repetitions}: {decisions} decisions", err=True)
        ours.append(worker.run_once(decisions, PEER_DIMENSION, "json", seed))
        for peer in peers:
            run = stream_programs.run_once(peer, decisions, PEER_DIMENSION, seed)
            theirs.setdefault(peer.name, []).append(run)
    rows = worker.rows_of(f"beside the peers: worker, linear d={PEER_DIMENSION}, json", ours)
    for name, runs in theirs.items():
        rows += worker.rows_of(f"peer: {name}, d={PEER_DIMENSION}, json", runs)
        rows.append(Row(f"worker / {name}, by CPU time", "times", tuple(_ratios(ours, runs))))
    return rows


def _ratios(ours: Sequence[worker.Run], theirs: Sequence[worker.Run]) -> list[float]:
    """Return how much less CPU an event takes here, pair by pair of the same events."""
    return [(b.cpu_s / b.events) / (a.cpu_s / a.events) for a, b in zip(ours, theirs, strict=True)]
