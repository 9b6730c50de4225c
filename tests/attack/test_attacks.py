"""Every attack of the table, in short: whoever has a key is answered meanwhile, and nothing is held that has no bound.

How long the answers take is measured by `python -m benchmarks attacks`, and asserted nowhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.attacks import ATTACKS
from tests.attack.site import Site, attacked_site
from tests.attack.strangers import resident_bytes

pytestmark = pytest.mark.attack

SECONDS = "1"
MIB = 1 << 20
# By its defaults a node may keep 64 MiB of records that wait for a broker, 32 MiB of recent decisions and as much of
# snapshots; the limits add 64 MiB of answers that wait for readers, and batches in work 64 MiB. All attacks together.
MOST_GROWN_BYTES = (64 + 32 + 32 + 64 + 64) * MIB


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with attacked_site(tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest.fixture(scope="module")
def before_bytes(site: Site) -> int:
    play(site, "small-decisions")
    return resident_bytes(site.node.pid)


def start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE)


def play(site: Site, name: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return what came back to the attacker, and to a caller with a key meanwhile."""
    connection = "kept" if ATTACKS[name].has_key else "new"
    attack = start("tests.attack.attacks", name, str(site.node.port), site.bad, SECONDS)
    caller = start("tests.attack.asking", str(site.node.port), site.good, SECONDS, connection)
    answered = json.loads(caller.communicate(timeout=60)[0])["seen"]
    seen = json.loads(attack.communicate(timeout=60)[0])
    assert attack.returncode == caller.returncode == 0
    return seen, answered


@pytest.mark.parametrize("name", ATTACKS)
def test_whoever_has_a_key_is_answered_under_attack(name: str, site: Site, before_bytes: int) -> None:
    seen, answered = play(site, name)
    assert set(answered) == {"200"}
    assert set(seen) <= ATTACKS[name].answered
    assert resident_bytes(site.node.pid) - before_bytes < MOST_GROWN_BYTES
    assert "Traceback" not in Path(site.node.log).read_text("utf-8")


def test_what_strangers_did_is_told_in_few_lines(site: Site) -> None:
    lines = [each for each in Path(site.node.log).read_text("utf-8").splitlines() if " pipeline.serve.http" in each]
    # Of three minutes at most, a line each ten seconds, and that it serves.
    assert 1 < len(lines) < 20
