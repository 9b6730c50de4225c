"""The command line of the project, against a test's broker."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

from tests.harness.place import Place

WITHIN_S = 120
NO_MORE: Mapping[str, str] = MappingProxyType({})


async def pipeline(
    place: Place, *arguments: str, environment: Mapping[str, str] = NO_MORE, codes: tuple[int, ...] = (0,)
) -> str:
    """Run a command that must succeed, or end with one of some codes; return what it says."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    ours = {"PIPELINE_BROKER": place.broker, "PIPELINE_APP_ID": place.app_id}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline", *arguments),
        env={**inherited, **ours, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode in codes, f"{arguments} → {process.returncode}: {said!r} {errors!r}"
    return said.decode()
