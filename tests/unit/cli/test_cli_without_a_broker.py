"""Every command that asks a broker, where none answers: one line says so, and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.brokers.ports import free_ports
from pipeline.cli import main

WITHIN_S = 60.0
POLICY = str(Path(__file__).parents[3] / "ops" / "policies" / "homepage.toml")
ASKING = (
    "advise homepage",
    "analyze homepage",
    "dead-letters list",
    "dead-letters show decisions/0/17",
    "dead-letters replay --reason too-late",
    "evaluate homepage --target logged",
    "export --out out",
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
    # A worker has its process to itself, as it turns its logs on: below.
)


def address() -> tuple[str, str]:
    (port,) = free_ports(1)
    return "--broker", f"127.0.0.1:{port}"


def look(code: int, said: str) -> None:
    assert code == 3, said
    (line,) = [line for line in said.splitlines() if line.strip()]  # a bar of progress leaves an empty one
    assert line.startswith("error: ")


@pytest.mark.parametrize("arguments", ASKING)
def test_without_a_broker_one_line_says_so_and_the_exit_code_is_3(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pipeline", *arguments.split(), *address()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    look(ended.value.code, capsys.readouterr().err)


@pytest.mark.parametrize("arguments", ["worker", "report homepage"])
def test_so_it_is_in_a_process_of_its_own(arguments: str, tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PIPELINE_")}
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments.split(), *address()],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    look(ended.returncode, ended.stderr)
