"""Every command that asks a broker, where none answers: one line says so, and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.brokers.ports import free_ports

WITHIN_S = 60.0
POLICY = str(Path(__file__).parents[3] / "ops" / "policies" / "homepage.toml")
ASKING = (
    "advise homepage",
    "analyze homepage",
    "dead-letters list",
    "dead-letters show decisions/0/17",
    "dead-letters replay --reason too-late",
    "evaluate homepage --target logged",
    "forget 0123456789abcdef0123456789abcdef",
    "forget --list",
    f"policy apply {POLICY}",
    "policy show",
    "policy kill homepage",
    "policy revive homepage",
    "policy rollout homepage --share 5",
    "replay --policy homepage --into 2",
    "replay promote homepage 2",
    "report homepage",
    "snapshot list",
    "snapshot show homepage --version 1",
    "snapshot diff homepage 1 2",
    "snapshot pin homepage",
    "snapshot unpin homepage",
    "snapshot rollback homepage --to 1",
    "topics create",
    "verify",
    "verify --last 3",
    "verify --sample 10",
    "train homepage --out out.toml",
    f"warm-start {POLICY} --from-policy homepage",
    "worker",
)


def run(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PIPELINE_")}
    (port,) = free_ports(1)
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments.split(), "--broker", f"127.0.0.1:{port}"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


@pytest.mark.parametrize("arguments", ASKING)
def test_without_a_broker_one_line_says_so_and_the_exit_code_is_3(arguments: str, tmp_path: Path) -> None:
    ended = run(arguments, tmp_path)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    (said,) = [line for line in ended.stderr.splitlines() if line.strip()]  # a bar of progress leaves an empty one
    assert said.startswith("error: ")
