"""What is said on pytest's command line; pytest hears it only from the uppermost conftest."""

from __future__ import annotations

import os

import pytest

LONG_FORM = "faults"
"""Marker of what runs only when it is asked for: `pytest -m faults`."""


def add_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("faults", "fault scenarios")
    group.addoption(
        "--seed",
        default=os.environ.get("PIPELINE_FAULT_SEED", "1"),
        metavar="SEEDS",
        help="Seed of the streams and of the moments at which faults come; of several, such as '1 2 3', "
        "every scenario is played with each. [PIPELINE_FAULT_SEED]",
    )
    group.addoption(
        "--faults-json",
        default=os.environ.get("PIPELINE_FAULT_JSON"),
        metavar="FILE",
        help="Write the table of scenarios there as JSON, too. [PIPELINE_FAULT_JSON]",
    )


def seeds(config: pytest.Config) -> list[int]:
    """Return the seeds that were asked for."""
    given = str(config.getoption("--seed")).split()
    try:
        return [int(seed) for seed in given]
    except ValueError as error:
        raise pytest.UsageError(f"--seed is {given}, expected whole numbers between spaces") from error


def leave_out_long_form(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long form unless `-m` speaks of it."""
    if LONG_FORM in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker(LONG_FORM)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker(LONG_FORM)]
