"""The table of fault scenarios names each scenario once, by its number and its file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

FAULTS = Path(__file__).parents[1] / "faults"


def test_each_scenario_has_its_row_and_a_number_of_its_own():
    rows = re.findall(
        r"^\| (\d+) \| .* \| `(test_\w+\.py)` \|", FAULTS.joinpath("README.md").read_text("utf-8"), re.MULTILINE
    )
    said = {
        path.name: re.match(r"Scenario (\d+): ", ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
        for path in FAULTS.glob("test_*.py")
    }
    assert [name for name, match in said.items() if match is None] == []
    assert sorted(rows) == sorted((match[1], name) for name, match in said.items() if match)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
