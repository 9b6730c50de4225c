"""A node as a user starts one, with keys for two tenants and snapshots that a restart found on its disk: no broker."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks import deciding
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.parts import SnapshotContent
from pipeline.serve.following.kept import KeptSnapshot, KeptSnapshots
from tests.harness.node import Node
from tests.harness.taught import taught
from tests.samples import plain_policy

SMALL, BIG, CANDIDATES = "small", "big", "bench"
"""Policies of 20 arms, of 1,000, and of one that takes candidates."""
NO_BROKER = "127.0.0.1:1"


class Site(NamedTuple):
    """A node, and who may ask it."""

    node: Node
    good: str
    """The key of a tenant who wants little."""
    bad: str
    """The key of one who wants everything."""
    pages: Sequence[str] = ()
    """Keys that stand in pages."""

    def refused(self, word: str) -> float:
        """Return how often the node says that it has refused something for this reason."""
        text = httpx.get(f"{self.node.url}/metrics", headers={"authorization": f"Bearer {self.good}"}).text
        line = f'pipeline_connections_refused_total{{reason="{word}"}} '
        return next((float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line)), 0.0)


@contextlib.contextmanager
def attacked_site(folder: Path, *options: str, pages: Sequence[Sequence[str]] = ()) -> Iterator[Site]:
    """Run a node with these options beside its keys and snapshots; `pages`: what each page's key is made with."""
    kept = KeptSnapshots(folder / "kept", 1 << 30)
    for definition in (*_plain(), deciding.policy(1, "hybrid_thompson", candidates=True)):
        content = SnapshotContent(taught(definition, 1), {})
        kept.write(KeptSnapshot(definition.name, content, (), time.time_ns() // 1_000_000))
    keys = folder / "keys.toml"
    secrets = [_new_key(keys, name, "decide", "outcomes", "operate") for name in ("good", "bad")]
    of_pages = [_new_key(keys, f"page{place}", "decide", "outcomes", more=more) for place, more in enumerate(pages)]
    with Node(NO_BROKER, folder, "--api-keys", str(keys), "--snapshot-dir", str(folder / "kept"), *options) as node:
        yield Site(node, *secrets, of_pages)


def _plain() -> Iterator[PolicyDefinition]:
    for name, arms in ((SMALL, 20), (BIG, 1_000)):
        policy = plain_policy(
            name=name,
            arms=[{"name": f"arm-{number}"} for number in range(arms)],
            segments={"default": "all"},
            exploration={"floor": 0.1 / arms},
        )
        yield parse_policy(policy, name)


def _new_key(keys: Path, name: str, *rights: str, more: Sequence[str] = ()) -> str:
    command = [sys.executable, "-m", "pipeline", "api-key", "--name", name, *more]
    command += [word for right in rights for word in ("--right", right)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    with keys.open("a", encoding="utf-8") as file:
        file.write(made.stdout)
    return made.stderr.split()[-1]
