"""A ledger record → its row, in the order of `columns.LEDGER`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from pipeline.codec.wire import read_accepted
from pipeline.errors import RecordError
from pipeline.evaluate.retelling import told
from pipeline.events import Decision
from pipeline.export.latest import Fields, Held
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import RewardRules

Row = tuple[Any, ...]
_UNREAD = (None, None, None, None, None, None, None)
"""In the place of what a decision says that can't be read."""


class LedgerRows:
    """Rows by the rules of the policies that are known."""

    def __init__(self, definitions: Iterable[PolicyDefinition]) -> None:
        """Take all generations of all policies."""
        self._rules: Mapping[tuple[str, int | str], RewardRules] = {
            (one.name, key): one.reward for one in definitions for key in (one.generation, one.statistics_hash)
        }
        self.untold = 0
        """Rows whose reward is not told."""

    def row(self, partition: int, held: Held) -> Row:
        """Return the row of one revision."""
        fields = held.fields
        reward = self._reward(fields)
        self.untold += reward is None
        propensity, eligible, probabilities, reason, version, snapshot_id, context = _shown(fields["decision"])
        return (
            fields["action_id"],
            fields["generation"],
            fields["segment"],
            fields["arm"],
            fields["decided_at_ms"],
            fields["revision"],
            fields["is_settled"],
            reward,
            propensity,
            eligible,
            probabilities,
            reason,
            fields["is_analysis"],
            version,
            snapshot_id,
            context,
            fields["undecodable"],
            [_credit(one) for one in fields["outcomes"]],
            fields["attribution"],
            fields["expires_at_ms"],
            partition,
            held.offset,
        )

    def _reward(self, fields: Fields) -> float | None:
        policy = fields["policy"]
        rules = self._rules.get((policy, fields["attribution"])) or self._rules.get((policy, fields["generation"]))
        return None if rules is None else told(fields, rules, rules)


def _shown(raw: bytes) -> tuple[Any, ...]:
    try:
        decision: Decision = read_accepted(raw)
    except RecordError:
        return _UNREAD
    return (
        decision.propensity,
        list(decision.eligible),
        list(decision.probabilities),
        decision.reason,
        decision.snapshot_version,
        decision.snapshot_id,
        orjson.dumps(dict(decision.context)).decode(),
    )


def _credit(outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "outcome_id": outcome["outcome_id"],
        "kind": outcome["kind"],
        "value": outcome["value"],
        "occurred_at": outcome["occurred_at_ms"],
    }
