"""The whole worker on topics that are full: Beta, and linear models of 16 entries; JSON and Avro."""

from __future__ import annotations

import click

from benchmarks import worker
from benchmarks.report import Row

KINDS = ((0, "json"), (16, "json"), (16, "avro"))
"""Entries of the context vector, and what the records are written in."""


def measure(decisions: int, repetitions: int) -> list[Row]:
    """Run every case on a fresh local Kafka each time."""
    rows: list[Row] = []
    for dimension, encoding in KINDS:
        click.echo(f"worker, d={dimension}, {encoding}: {repetitions} runs of {decisions} decisions", err=True)
        rows += worker.measure(decisions, dimension, encoding, repetitions)
    return rows
