"""A console beside a play, and what stays up when the play has ended, until somebody ends it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.brokers.ports import HOST, free_ports
from pipeline.demo.report import VisitorsReport
from pipeline.demo.stage import Stage
from pipeline.serve.keys import KEY_BYTES, PREFIX, hash_key

KEY_NAME = "demo"


@dataclass(frozen=True)
class Stay:
    """Whoever wants the stage to stay up."""

    on_console: Callable[[str, str, Sequence[str]], None]
    """Told the console's address, the key that may act there, and the nodes, once the console is started."""
    on_report: Callable[[VisitorsReport], None]
    """Told what the play came to, when it has ended."""


def start_console(stage: Stage, nodes: Sequence[str]) -> tuple[str, str]:
    """Start a console on the stage; return its address, and a key that may act there."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    keys = stage.folder / "console-keys.toml"
    entry = f'[[keys]]\nname = "{KEY_NAME}"\nsha256 = "{hash_key(key)}"\nrights = ["operate", "read"]\n'
    keys.write_text(entry, "utf-8")
    (port,) = free_ports(1)
    arguments = ["console", "--broker", stage.broker, "--host", HOST, "--port", str(port), "--api-keys", str(keys)]
    for node in nodes:
        arguments += ["--node", node]
    for worker in stage.metrics:
        arguments += ["--worker-metrics", worker]
    stage.processes.start("console", arguments)
    return f"http://{HOST}:{port}", key
