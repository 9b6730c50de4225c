"""The units of ops/systemd: as systemd itself reads them, with least rights, and with options that there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.pages import TOP
from tests.harness.stopping import ENDS_WITHIN_S
from tests.unit.test_compose import command_of, known_variables

FOLDER = TOP / "ops" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
SYSTEM = Path("/usr/lib/systemd/system")
MOST_EXPOSED = 20
"""Of 100: `systemd-analyze security` says OK below 50."""


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None or not SYSTEM.is_dir():
        why = "there is no systemd-analyze that could read the units"
        if os.environ.get("CI"):
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with systemd's own units, ours, and the command where they look for it."""
    tree = tmp_path_factory.mktemp("root")
    shutil.copytree(SYSTEM, tree / SYSTEM.relative_to("/"), symlinks=True)
    shutil.copytree(FOLDER, tree / "etc" / "systemd" / "system")
    command = tree / "opt" / "pipeline" / "bin" / "pipeline"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n", "utf-8")
    command.chmod(0o755)
    return tree


def test_systemd_takes_each_unit_and_knows_each_of_its_keys(analyze: str, root: Path):
    units = [path.name.replace("@.", "@1.") for path in sorted(FOLDER.iterdir())]
    read = subprocess.run(
        [analyze, "verify", "--man=no", f"--root={root}", *units],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_has_few_rights(analyze: str, unit: Path):
    judged = subprocess.run(
        [analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_a_command_that_there_is_and_waits_for_as_long_as_it_takes_to_stop(unit: Path):
    text = unit.read_text("utf-8")
    (line,) = re.findall(r"^ExecStart=/opt/pipeline/bin/pipeline (.+)$", text, re.MULTILINE)
    command, *options = line.split()
    known = {name for each in command_of([command]).params for name in each.opts}
    assert {option for option in options if option.startswith("--")} <= known
    assert set(re.findall(r"\bPIPELINE_[A-Z_]+", text)) <= known_variables()
    if command == "verify":
        return
    (stop_s,) = map(int, re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE))
    assert ENDS_WITHIN_S[command] < stop_s <= 30
