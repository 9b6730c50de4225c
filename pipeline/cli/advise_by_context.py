"""What `pipeline advise` says of a policy that learns from context."""

from __future__ import annotations

import asyncio
import sys
from typing import NoReturn

import click
import numpy as np
import orjson
from rich.console import Console
from rich.text import Text

from pipeline.analyze.analyze import Settings, analyze
from pipeline.analyze.answer import sentences
from pipeline.cli.policy_log import read_policy_log
from pipeline.stream.security import Address

SEED = 0
"""The same question has the same answer."""


def advise_by_context(
    broker: Address, policy: str, settings: Settings, generation: int | None = None, *, as_json: bool
) -> NoReturn:
    """Say it, and end with whether it can be said."""
    read = asyncio.run(read_policy_log(broker, policy, generation, lambda _done, _total: None))
    found = analyze(read.log, settings, np.random.default_rng(SEED), choice=read.choice, said=read.left_out)
    if as_json:
        click.echo(orjson.dumps({"policy": policy, "sentences": sentences(found), **found.to_plain()}))
    else:
        console = Console()
        for words in sentences(found):
            console.print(Text(words))
    is_said = found.personalise == "yes" or (found.personalise == "no" and found.advice.may_stop)
    sys.exit(0 if is_said else 1)
