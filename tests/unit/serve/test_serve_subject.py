"""Salts stand in a file; the first hashes."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from pipeline.cli.serve import serve
from pipeline.errors import ConfigError
from pipeline.serve.settings import ServeSettings
from pipeline.serve.subject import hash_subject, parse_salts

NEW, OLD = "n" * 16, "o" * 64


def test_a_file_of_salts_is_read_in_order() -> None:
    assert parse_salts(f"{NEW}\n\n  {OLD}\r\n", "salts") == (NEW, OLD)
    assert hash_subject("jane", NEW) != hash_subject("jane", OLD)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds 0 salts, expected 1 to 8"),
        ("\n".join([NEW] * 9), "holds 9 salts"),
        (f"{NEW}\nshort", "line 2: 5 bytes, expected 16 to 64"),
        ("x" * 65, "line 1: 65 bytes"),
    ],
)
def test_a_file_of_anything_else_is_refused_and_not_repeated(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as refused:
        parse_salts(text, "salts")
    assert NEW not in str(refused.value)


def test_a_node_takes_the_first_salt_of_its_file_and_not_two_sources(tmp_path: Path) -> None:
    salts = tmp_path / "salts"
    salts.write_text(f"{NEW}\n{OLD}\n")
    taken: list[ServeSettings] = []

    async def run(settings: ServeSettings) -> None:
        taken.append(settings)

    with patch("pipeline.cli.serve.run_node", run):
        told = CliRunner().invoke(serve, ["--subject-salt-file", str(salts)])
        assert told.exit_code == 0, told.output
        told = CliRunner().invoke(serve, [], env={"PIPELINE_SUBJECT_SALT_FILE": str(salts)})
        assert told.exit_code == 0, told.output
        assert [(one.subject_salt, one.subject_salt_file) for one in taken] == [(NEW, salts)] * 2
        assert NEW not in repr(taken[0])
        both = CliRunner().invoke(serve, ["--subject-salt-file", str(salts), "--subject-salt", OLD])
    assert both.exit_code == 2
    assert "are both set" in both.output
