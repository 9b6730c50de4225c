"""The ledger of a running policy as a log, with the arms that anybody may be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import orjson

from pipeline.cli.directives import read_book
from pipeline.cli.snapshots import find_published
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.read import gather_ledger
from pipeline.policy.parsing.parse import parse_policy
from pipeline.stream.security import Address


class PolicyLog(NamedTuple):
    """What a policy has decided."""

    log: DecisionLog
    choice: frozenset[str]
    """Arms that are neither retired nor killed."""
    left_out: list[str]
    """In words, which decisions are not in it."""


async def read_policy_log(
    broker: Address, policy: str, generation: int | None, on_progress: Callable[[int, int], None]
) -> PolicyLog:
    """Read the ledger of a policy that has published, by the rules of its latest snapshot or of a generation.

    Raises:
        ConfigError: it has not published, or no decision has settled.
    """
    fields = (await find_published(broker, policy, None)).fields
    definition = parse_policy(orjson.loads(fields["definition"]), f"snapshot {fields['version']} of {policy}")
    gathering = await gather_ledger(broker, definition, generation, on_progress=on_progress)
    log, left_out = gathering.log()
    present = (await read_book(broker)).in_force(policy) or definition
    return PolicyLog(log, frozenset(present.active_arms) - frozenset(present.switches.arms), left_out)
