from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.errors import ConfigError

SMALL = ("--decisions", "300", "--repetitions", "3")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["simulate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_algorithm_that_suits_plays_where_none_is_named(tmp_path: Path):
    picture = tmp_path / "out" / "regret.png"
    found = orjson.loads(run("--environment", "linear", *SMALL, "--picture", picture, "--json"))
    assert {"linear_thompson", "lin_ucb"} <= {row["policy"] for row in found}
    for row in found:
        assert (row["decisions"], row["repetitions"], len(row["regrets"])) == (300, 3, 3)
        assert row["regret"] == pytest.approx(sum(row["regrets"]) / 3)
        assert row["regret_error"] > 0.0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_regret_and_a_policy_keeps_its_own_beside_others():
    alone = orjson.loads(run(*SMALL, "--policy", "beta_thompson", "--json"))
    beside = orjson.loads(run(*SMALL, "--policy", "beta_thompson:prior_beta=9", "--policy", "beta_thompson", "--json"))
    assert beside[1] == alone[0]
    assert beside[0]["regrets"] != alone[0]["regrets"]


def test_where_several_kinds_come_it_says_how_much_of_each():
    policies = ("--policy", "gaussian_thompson", "--policy", "gaussian_thompson:worth.sale=0,worth.refund=0")
    shop, clicks = orjson.loads(run("--environment", "shop", *SMALL, *policies, "--json"))
    assert set(shop["kinds"]) == {"click", "sale", "refund"}
    assert clicks["kinds"]["click"]["mean"] > shop["kinds"]["click"]["mean"]
    assert "refund" in run("--environment", "shop", *SMALL, *policies)


def test_a_policy_file_plays_as_it_is(tmp_path: Path):
    policy = tmp_path / "two.toml"
    policy.write_text(
        """
        name = "two"
        arms = [{ name = "arm-000" }, { name = "arm-001" }]
        [algorithm]
        name = "beta_thompson"
        [exploration]
        floor = 0.25
        [reward]
        low = 0.0
        high = 1.0
        outcomes = [{ kind = "click", worth = 1.0, window = "1h" }]
        """,
        "utf-8",
    )
    arguments = ("--set", "rates=0.9,0.1", "--policy", policy, "--decisions", "2000", "--repetitions", "1", "--json")
    (row,) = orjson.loads(run(*arguments))
    # Of the last 200 decisions a quarter is the floor's for the other arm: 150 ± 5 · sqrt(200 · 0.25 · 0.75).
    assert row["best_share"] == pytest.approx(0.75, abs=0.16)


def test_the_table_puts_the_least_regret_first():
    stubborn, plain = "beta_thompson:prior_alpha=999", "beta_thompson"
    text = run("--set", "rates=0.9,0.1", *SMALL, "--policy", stubborn, "--policy", plain)
    assert text.index(f" {plain} ") < text.index(f" {plain}:")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "magic"), "'magic' is none of"),
        (("--policy", "lin_ucb:alpha"), "no PARAMETER=NUMBER"),
        (("--policy", "lin_ucb"), "has no feature"),
        (("--policy", "beta_thompson:alpha=1"), "unknown key"),
        (("--policy", "nowhere.toml"), "can't be read"),
        (("--environment", "atlantis"), "is none of"),
    ],
)
def test_what_cannot_play_is_refused_in_words(arguments, words):
    with pytest.raises(ConfigError, match=words):
        run(*SMALL, *arguments)


@pytest.mark.parametrize("arguments", [("--set", "rates"), ("--policy", "beta_thompson", "--policy", "beta_thompson")])
def test_wrong_usage_is_refused(arguments):
    assert CliRunner().invoke(cli, ["simulate", *arguments]).exit_code == 2


def test_rewards_that_the_grid_swallows_are_refused_with_its_step(tmp_path: Path, monkeypatch):
    (tmp_path / "shops.py").write_text(
        "from pipeline.simulate.environments.bernoulli import Bernoulli\n"
        "class Prices(Bernoulli):\n"
        "    def __init__(self, high: float):\n"
        "        super().__init__(rates='0.2,0.3')\n"
        "        from pipeline.simulate.environment import Setting\n"
        "        self.setting = Setting(('a', 'b'), high=float(high), decisions=300)\n"
        "    def reward(self, t, arm):\n"
        "        return 2.01 * super().reward(t, arm)\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = ["--environment", "shops:Prices", "--policy", "gaussian_thompson", "--repetitions", "1"]
    fine = CliRunner().invoke(cli, ["simulate", *arguments, "--set", "high=100"], catch_exceptions=False)
    assert fine.exit_code == 0, fine.output
    # 2.01 counts 4 in steps of 4: 99 % more.
    with pytest.raises(ConfigError, match=r"its grid changed rewards by 99%: .* steps of 4"):
        CliRunner().invoke(cli, ["simulate", *arguments, "--set", "high=100000"], catch_exceptions=False)


SHOP = """
from pipeline.simulate.environment import Setting


class Shop:
    def __init__(self, arms: int = 2):
        self.setting = Setting(tuple(f"arm-{number}" for number in range(arms)), decisions=40)

    def reset(self, seed):
        pass

    def context(self, t):
        return {}

    def reward(self, t, arm):
        return float(arm == 0)

    def best(self, t):
        return 0
"""


def test_a_class_of_one_s_own_is_found_from_the_folder_that_it_lies_in(tmp_path: Path):
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "shops.py").write_text(SHOP, "utf-8")
    # The installed command: `python -m` would look in this folder anyway.
    command = [Path(sys.executable).with_name("pipeline"), "simulate", "--environment", "mypackage.shops:Shop"]
    played = subprocess.run(
        [*command, "--policy", "beta_thompson", "--repetitions", "1", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert played.returncode == 0, played.stderr
    (summary,) = orjson.loads(played.stdout)
    assert summary["decisions"] == 40
