from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.cli import warm_start as command
from pipeline.cli.snapshots import Found
from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.parsing.parse import load_policy
from pipeline.publish.parts import SnapshotContent
from pipeline.publish.snapshot import build_snapshot, snapshot_id
from tests.open_bandit import uniform_rows, write_rows

HOMEPAGE = Path(__file__).parents[3] / "ops" / "policies" / "homepage.toml"


def invoke(*arguments: object):
    return CliRunner().invoke(cli, ["warm-start", *map(str, arguments)], catch_exceptions=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "history.csv"
    path.write_text(text, "utf-8")
    return path


def test_a_csv_becomes_the_priors_of_a_policy_file(tmp_path: Path):
    log = write(tmp_path, "arm,reward,propensity\nhybrid,0.2,0.5\nhybrid,0,0.5\ncollab_filter,1,0.25\n")
    out = tmp_path / "new" / "warm.toml"
    result = invoke(HOMEPAGE, "--csv", log, "--out", out)
    assert result.exit_code == 0, result.output
    before, after = (load_policy(path.read_text("utf-8"), path.name) for path in (HOMEPAGE, out))
    priors = {arm.name: arm.prior for arm in after.arms}
    assert (priors["hybrid"].mean, priors["hybrid"].weight) == pytest.approx((0.1, 2.0))
    assert (priors["collab_filter"].mean, priors["collab_filter"].weight) == pytest.approx((1.0, 1.0))
    assert priors["content_based"] is None
    assert (after.statistics_hash, after.segments) == (before.statistics_hash, before.segments)


def test_a_log_without_propensities_is_trusted_less_and_says_why(tmp_path: Path):
    log = write(tmp_path, "arm,reward\n" + "hybrid,0\n" * 8)
    found = orjson.loads(invoke(HOMEPAGE, "--csv", log, "--json").stdout)
    assert found["arms"] == [{"arm": "hybrid", "decisions": 8, "mean": 0.0, "effective": 8.0, "weight": 2.0}]
    assert "without propensities" in found["warnings"][0]
    assert load_policy(found["policy"], "proposed").arms[2].prior.weight == 2.0


def test_without_a_file_the_policy_is_printed(tmp_path: Path):
    log = write(tmp_path, "arm,reward,propensity\nhybrid,1,0.5\n")
    result = invoke(HOMEPAGE, "--csv", log, "--trust", "0.5")
    assert load_policy(result.stdout, "printed").arms[2].prior.weight == 0.5


def test_an_open_bandit_campaign_is_a_log(tmp_path: Path):
    policy = write_policy(tmp_path)
    folder = write_rows(tmp_path / "log", uniform_rows(2_000, [0.1, 0.5], seed=1))
    found = orjson.loads(invoke(policy, "--data", folder, "--limit", "100", "--json").stdout)
    assert [row["mean"] for row in found["arms"]] == pytest.approx([0.1, 0.5], abs=0.08)
    assert [row["weight"] for row in found["arms"]] == [100.0, 100.0]


def write_policy(folder: Path) -> Path:
    path = folder / "items.toml"
    text = HOMEPAGE.read_text("utf-8").replace('"collab_filter"', '"0"').replace('"content_based"', '"1"')
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arm,value\n", "column reward is missing"),
        ("arm,reward\nhybrid,much\n", "row 2, column reward: 'much'"),
    ],
)
def test_a_csv_that_is_no_log_is_refused_in_words(tmp_path: Path, text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        invoke(HOMEPAGE, "--csv", write(tmp_path, text))


def test_one_log_must_be_given(tmp_path: Path):
    for sources in ((), ("--ledger", "homepage", "--data", tmp_path)):
        result = invoke(HOMEPAGE, *sources)
        assert result.exit_code == 2
        assert "give one log" in result.output


def test_another_policys_snapshot_becomes_priors_and_is_named_in_the_file(monkeypatch):
    definition = load_policy(HOMEPAGE.read_text("utf-8"), "homepage")
    one = 2**definition.reward_exponent
    # 25 of 50 decisions earned 1.
    row = RowKey("homepage", 1, definition.segments.names[0], "hybrid", 3), Statistics(0, np.array([50, 25 * one, 0]))
    record = build_snapshot(definition, [row], {}, 7, "")
    asked = []

    async def found(_broker: str, policy: str, version: int | None) -> Found:
        asked.append((policy, version))
        return Found(snapshot_id(record), SnapshotContent(record, {}), avro.decode_as("snapshot", record))

    monkeypatch.setattr(command, "find_whole", found)
    first, second = (
        invoke(HOMEPAGE, "--from-policy", "homepage", "--version", 7, "--temper", "0.5").stdout for _ in range(2)
    )
    assert first == second
    assert asked == [("homepage", 7)] * 2
    assert first.startswith(f"# Priors from policy homepage, version 7, snapshot {snapshot_id(record)}, temper 0.5.\n")
    prior = load_policy(first, "printed").arms[2].prior
    assert (prior.mean, prior.weight) == (0.5, 25.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--from-policy", "homepage", "--trust", "0.5"), "takes --temper, not --trust"),
        (("--ledger", "homepage", "--temper", "0.5"), "go with --from-policy"),
        (("--ledger", "homepage", "--version", "5"), "go with --from-policy"),
    ],
)
def test_options_that_say_nothing_together_are_refused(options, words):
    result = invoke(HOMEPAGE, *options)
    assert result.exit_code == 2
    assert words in result.output
