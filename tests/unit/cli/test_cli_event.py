"""`pipeline event`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli import cli

POLICY = str(Path(__file__).parents[3] / "docs/example/homepage.toml")


def run(*words: str, given: bytes = b"") -> tuple[int, bytes, str]:
    ended = CliRunner().invoke(cli, ["event", *words, "--policy-file", POLICY], input=given)
    return ended.exit_code, ended.stdout_bytes, ended.stderr


@pytest.mark.parametrize("encoding", [(), ("--avro",)])
def test_an_example_is_valid(encoding: tuple[str, ...]) -> None:
    code, decision, _ = run("example", "decision", *encoding)
    assert code == 0
    code, said, doubts = run("validate", "-", given=decision)
    assert (code, doubts) == (0, "")
    assert said.startswith(b"record 1: decision open: homepage, generation 1, segment returning, arm collab_filter")


def test_a_decision_and_its_outcome_go_together() -> None:
    _, decision, _ = run("example", "decision", "--action-id", "a-7")
    _, outcome, _ = run("example", "outcome", "--action-id", "a-7")
    # The outcome was made a moment after the decision.
    code, said, _ = run("validate", "-", "--json", given=outcome + decision)
    assert code == 0
    assert [verdict["fate"] for verdict in orjson.loads(said)] == ["credited", "open"]


def test_what_nothing_comes_of_is_exit_code_1_with_its_place() -> None:
    _, decision, _ = run("example", "decision")
    broken = orjson.dumps(orjson.loads(decision) | {"arm": "carousel", "eligible": [], "probabilities": []})
    code, said, _ = run("validate", "-", given=decision + broken + b"\n")
    assert code == 1
    assert b"record 2: decision rejected: unknown-arm: arm 'carousel'" in said
    assert b"what to do: apply the policy file that is meant" in said


def test_a_doubt_is_told_on_standard_error() -> None:
    _, outcome, _ = run("example", "outcome")
    code, _, doubts = run("validate", "-", given=outcome.replace(b'"click"', b'"clik"'))
    assert code == 0
    assert doubts.startswith("! record 1: no policy would count it")


def test_nothing_is_no_record() -> None:
    code, _, said = run("validate", "-")
    assert code == 1
    assert "there is no record in it" in said
