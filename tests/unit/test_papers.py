"""The bill of materials and the look at advisories: what they say is of the lock file, not that nothing was found."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
VERDICT = runpy.run_path(str(TOP / "ops/advisories.py"))["verdict"]
LOOKED = {"name": "numpy", "version": "2.2.0", "vulns": []}
SKIPPED = {"name": "orjson", "skip_reason": "Dependency not found on PyPI and could not be audited"}
FOUND = {"name": "aiohttp", "version": "3.11.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.11.1"]}]}


def said(*packages: object, is_strict: bool = False) -> tuple[int, list[str]]:
    return VERDICT(json.dumps({"dependencies": packages}), is_strict=is_strict)


def test_an_advisory_fails_and_names_the_release_that_mends_it():
    assert said(LOOKED, FOUND) == (1, ["aiohttp 3.11.0: PYSEC-1, mended in 3.11.1", "2 of 2 packages looked up"])


def test_what_was_not_looked_up_is_never_told_as_sound():
    assert said(LOOKED, SKIPPED) == (0, ["1 of 2 packages looked up", "not looked up: orjson"])
    assert said(SKIPPED)[1] == ["no advisories can be reached from here: none of 1 packages was looked up"]
    assert VERDICT("", is_strict=False)[1] == ["no advisories can be reached from here: nothing was looked up"]


def test_strictly_what_was_not_looked_up_fails():
    assert said(LOOKED, SKIPPED, is_strict=True)[0] == 1
    assert said(is_strict=True)[0] == 1
    assert VERDICT("", is_strict=True)[0] == 1
    assert said(LOOKED, is_strict=True)[0] == 0


def test_the_bill_of_materials_names_every_package_of_the_lock_with_its_hashes(tmp_path: Path):
    (recipe,) = re.findall(r"^\t.*cyclonedx-py (.*)$", (TOP / "Makefile").read_text("utf-8"), re.MULTILINE)
    made = tmp_path / "sbom.json"
    arguments = [str(made) if each.startswith("dist/") else each for each in recipe.split()]
    command = [sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py", *arguments]
    ended = subprocess.run(command, cwd=TOP, env=os.environ, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    bill = json.loads(made.read_text("utf-8"))
    locked = re.findall(r"^([a-z0-9-]+)==(\S+)", (TOP / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    assert {(each["name"], each["version"]) for each in bill["components"]} == set(locked)
    assert all(reference["hashes"] for each in bill["components"] for reference in each["externalReferences"])
