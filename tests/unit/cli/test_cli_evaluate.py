from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.errors import ConfigError
from tests.open_bandit import uniform_rows, write_rows

POLICY = """
name = "items"
arms = [{ name = "0" }, { name = "1" }, { name = "2" }]
[segments]
default = "other"
rules = [{ name = "1", when = { position = { equals = 1 } } }, { name = "2", when = { position = { equals = 2 } } }]
[algorithm]
name = "beta_thompson"
[reward]
low = 0.0
high = 1.0
outcomes = [{ kind = "click", worth = 1.0, window = "1h" }]
"""


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "log", uniform_rows(3_000, [0.05, 0.1, 0.4], seed=1))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_policy_file_learns_from_the_log_and_is_said_to_earn_what_its_best_item_does(campaign: Path, tmp_path: Path):
    policy = tmp_path / "items.toml"
    policy.write_text(POLICY, "utf-8")
    picture = tmp_path / "out" / "values.png"
    arguments = ("--log", "open-bandit", "--data", campaign, "--target", "logged", "--target", policy)
    report = orjson.loads(run(*arguments, "--picture", picture, "--json"))
    logged, learned = report["targets"]
    values = {estimate["estimator"]: estimate for estimate in learned["estimates"]}
    assert [estimate["value"] for estimate in logged["estimates"][:2]] == [pytest.approx(report["mean_reward"])] * 2
    # It shows item 2 (0.4) but for a floor of 1 % for each other: 0.98 · 0.4 + 0.01 · (0.05 + 0.1) = 0.3935.
    for name in ("IPS", "SNIPS", "DR"):
        low, high = values[name]["bootstrap"]
        assert low < 0.3935 < high, name
    assert values["DM"]["bootstrap"] is None
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_table_says_what_the_json_says(campaign: Path):
    text = run("--log", "open-bandit", "--data", campaign, "--target", "uniform")
    assert "3,000 decisions" in text
    assert "Switch-DR" in text
    assert "worth 3,000 of 3,000 decisions" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the POLICY"),
        (["--log", "open-bandit"], "--log and --data go together"),
        (["homepage", "--log", "open-bandit", "--data", "."], "name the POLICY"),
    ],
)
def test_what_is_not_a_log_is_refused(arguments: list[str], words: str):
    result = CliRunner().invoke(cli, ["evaluate", *arguments])
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("bernoulli-ts", "has 46 arms, the log has 3"),
        ("nowhere.toml", "can't be read"),
        ("latest", "has no snapshots"),
        ("homepage@seven", "'seven' is no number"),
    ],
)
def test_a_target_that_cannot_be_evaluated_is_refused_in_words(campaign: Path, target: str, words: str):
    with pytest.raises(ConfigError, match=words):
        run("--log", "open-bandit", "--data", campaign, "--target", target)
