"""What a caller with a key waits while others attack the node: the table of SECURITY.md.

The attacks are those of the tests (`tests/attack/attacks.py`), against a node that its command line has started. Each
is played beside a quiet of its own, in turn, for several rounds. Caller and attacker are processes of their own, on
another core than the node where there is one, and the attacker gives way to the caller. Where the machine has other
work, `chrt -f 5 python -m benchmarks attacks` keeps it away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.process import rss_mib
from benchmarks.report import Row
from tests.attack.attacks import ATTACKS
from tests.attack.site import Site, attacked_site

NODE_CORE = 0
BEGINS_S = 1.0
"""How long an attack has gone on before its caller is asked."""
QUIET = {"kept": "none, kept connection", "new": "none, a new connection each time"}


class Waited(NamedTuple):
    """What the caller saw."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    failed: int
    rss_mib: float
    """Of the node."""


def measure(seconds: float, rounds: int, names: Sequence[str] = ()) -> list[Row]:
    """Play every attack, or these, `rounds` times; each beside a quiet of its own."""
    quiet: dict[str, list[Waited]] = {}
    under: dict[str, list[tuple[Waited, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, attacked_site(Path(folder)) as site:
        os.sched_setaffinity(site.node.pid, {NODE_CORE})
        _asked(site, 1.0, "kept")
        for _ in range(rounds):
            for name in names or ATTACKS:
                connection = "kept" if ATTACKS[name].has_key else "new"
                calm = _asked(site, seconds, connection)
                quiet.setdefault(connection, []).append(calm)
                with _Playing(name, site, seconds + 2 * BEGINS_S):
                    time.sleep(BEGINS_S)
                    found = _asked(site, seconds, connection)
                under.setdefault(name, []).append((found, found.p99_ms / calm.p99_ms))
    rows = [row for kind, all_of in quiet.items() for row in _rows(QUIET[kind], all_of)]
    for name, found_in_rounds in under.items():
        what = ATTACKS[name].what
        rows += _rows(what, [found for found, _ in found_in_rounds])
        rows.append(Row(f"attack, {what}: p99 / quiet p99", "", tuple(ratio for _, ratio in found_in_rounds)))
    failed = {row.name: row.values for row in rows if row.name.endswith("not answered") and any(row.values)}
    if failed:
        raise SystemExit(f"a caller with a key was not answered: {failed}")
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return SECURITY.md's table."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        what, _, figure = row.name.removeprefix("attack, ").rpartition(": ")
        found.setdefault(what, {})[figure] = row
    lines = ["| attack | p50 | p99 | max | p99 / quiet | node, MiB |", "|---|---:|---:|---:|---:|---:|"]
    for what, figures in found.items():
        ratio = figures.get("p99 / quiet p99")
        cells = [f"{figures[name].median:.2f}" for name in ("p50", "p99", "max")]
        told = "" if ratio is None else f"{ratio.median:.1f} ({ratio.spread})"
        lines.append(f"| {what} | {' | '.join(cells)} | {told} | {figures['RSS'].median:.0f} |")
    return "\n".join(lines)


class _Playing:
    """An attack, on while in its block."""

    def __init__(self, name: str, site: Site, seconds: float) -> None:
        self._command = [
            sys.executable,
            "-m",
            "tests.attack.attacks",
            name,
            str(site.node.port),
            site.bad,
            str(seconds),
        ]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, preexec_fn=_give_way)  # noqa: S603, PLW1509  as below

    def __exit__(self, *_: object) -> None:
        if self._process.wait():
            raise SystemExit(f"{self._command[3]}: the attack failed")


def _asked(site: Site, seconds: float, connection: str) -> Waited:
    command = [sys.executable, "-m", "tests.attack.asking", str(site.node.port), site.good, str(seconds), connection]
    process = subprocess.Popen(  # noqa: S603  our own
        command,
        stdout=subprocess.PIPE,
        preexec_fn=_off_the_nodes_core,  # noqa: PLW1509  this process has one thread
    )
    told: dict[str, Any] = json.loads(process.communicate()[0])
    p50_ms, p99_ms, max_ms = (float(np.percentile(told["took_ms"], at)) for at in (50.0, 99.0, 100.0))
    failed = sum(count for status, count in told["seen"].items() if status != "200")
    return Waited(p50_ms, p99_ms, max_ms, failed, rss_mib(site.node.pid))


def _rows(what: str, found: Sequence[Waited]) -> list[Row]:
    figures = (("p50", "ms"), ("p99", "ms"), ("max", "ms"), ("not answered", ""), ("RSS", "MiB"))
    return [
        Row(f"attack, {what}: {name}", unit, tuple(float(each[place]) for each in found))
        for place, (name, unit) in enumerate(figures)
    ]


def _off_the_nodes_core() -> None:
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {NODE_CORE} or {NODE_CORE})


def _give_way() -> None:
    _off_the_nodes_core()
    if os.sched_getscheduler(0) == os.SCHED_OTHER:
        os.nice(15)
    else:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
