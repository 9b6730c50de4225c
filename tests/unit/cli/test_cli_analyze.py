"""`pipeline analyze` on files, as they are kept: what it says is what the makers of the files know."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli import cli

PEOPLE, VISITS = 600, 4


def rows(seed: int = 5) -> list[dict[str, Any]]:
    """Show the video to phones with 0.7 and to desks with 0.3; it earns 0.15 more on a phone, 0.15 less on a desk."""
    rng = np.random.default_rng(seed)
    phone, age = rng.random(PEOPLE) < 0.5, rng.integers(18, 80, PEOPLE)
    found = []
    for visit in range(PEOPLE * VISITS):
        who = int(rng.integers(PEOPLE))
        chance = 0.7 if phone[who] else 0.3
        is_video = rng.random() < chance
        mean = 0.3 + (0.0 if not is_video else 0.15 if phone[who] else -0.15)
        found.append(
            {
                "time": str(np.datetime64("2026-03-01T00:00") + np.timedelta64(10 * visit, "m")),
                "subject": f"u{who}",
                "arm": "video" if is_video else "text",
                "reward": int(rng.random() < mean),
                "propensity": chance if is_video else 1 - chance,
                "device": "phone" if phone[who] else "desk",
                "age": int(age[who]),
            }
        )
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "shop.csv"
    made = rows()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["analyze", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_table_is_answered_in_json_and_as_a_picture(table: Path, tmp_path: Path):
    picture = tmp_path / "out" / "analysis.svg"
    found = orjson.loads(run(table, "--group-by", "device", "--picture", picture, "--json"))
    assert (found["personalise"], found["by"], found["arms"]) == ("yes", "subject", ["text", "video"])
    assert found["decisions"] == PEOPLE * VISITS
    # Half of them get 0.15 more than by either arm for all.
    assert found["gain"]["low"] < 0.075 < found["gain"]["high"]
    device, age = sorted(found["effects"], key=lambda effect: effect["p_value"])
    assert (device["field"], age["field"]) == ("device", "age")
    assert device["adjusted"] < 0.01 < age["adjusted"]
    assert {one["group"]: round(one["shares"]["video"]["value"], 1) for one in found["groups"]["shown"]} == {
        "desk": 0.3,
        "phone": 0.7,
    }
    # A decision every ten minutes.
    assert found["convergence"]["decisions_per_day"] == pytest.approx(144)
    assert found["doubts"] == found["left_out"] == []
    assert len(found["sentences"]) == 3
    assert b"<svg" in picture.read_bytes()


def test_the_tables_say_what_the_json_says(table: Path):
    words = re.sub(r"\s+", " ", run(table, "--resamples", 100, "--group-by", "device"))
    assert "Show each visitor the arm by context: text for device desk; video for device phone." in words
    assert "2,400 decisions of" in words
    assert "among 2 arms; all intervals by subject" in words
    for title in (
        "What rules earn",
        "Do the arms' effects differ?",
        "One arm for all",
        "Who is shown what",
        "How long",
    ):
        assert title in words


def test_json_lines_say_what_the_table_says(table: Path, tmp_path: Path):
    lines = tmp_path / "shop.jsonl"
    lines.write_bytes(b"\n".join(map(orjson.dumps, rows())))
    one, other = (orjson.loads(run(path, "--resamples", 50, "--json")) for path in (table, lines))
    assert one == other


def test_without_propensities_a_draw_that_goes_along_with_the_context_is_found_out(tmp_path: Path):
    plain = tmp_path / "plain.csv"
    made = rows()
    with plain.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["variant", "clicked", "device"])
        writer.writeheader()
        writer.writerows({"variant": r["arm"], "clicked": r["reward"], "device": r["device"]} for r in made)
    found = orjson.loads(
        run(plain, "--column", "arm=variant", "--column", "reward=clicked", "--resamples", 50, "--json")
    )
    assert any(words.startswith("no column propensity") for words in found["doubts"])
    assert any("goes along with device" in words for words in found["doubts"])
    assert any("by action" in words for words in found["doubts"])
    assert found["convergence"]["context"]["time_ms"] in {0, None}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing.csv"], 1, "can't be read: No such file"),
        (["{table}", "--column", "arm"], 2, "expected ROLE=NAME"),
        (["{table}", "--generation", "2"], 2, "--generation goes with a POLICY"),
        (["{table}", "--traffic-of", "soon"], 2, "--traffic-of is 'soon'"),
        (["{table}", "--group-by", "town"], 1, "town: is in no context"),
        (["homepage", "--column", "arm=x"], 2, "there is no file homepage"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line_and_how(
    table: Path, tmp_path: Path, arguments: list[str], code: int, words: str
):
    command = [sys.executable, "-m", "pipeline", "analyze", *(word.format(table=table) for word in arguments)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
