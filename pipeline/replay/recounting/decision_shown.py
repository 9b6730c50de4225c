"""What a ledger record says of its decision, as far as tallies go by it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.codec.wire import read_accepted
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.tallies import Shown


def shown_by(definition: PolicyDefinition, fields: Mapping[str, Any]) -> Shown:
    """Return what was shown; its propensity, which the record's decision says, only where the policy counts by it.

    Raises:
        DecodeError: the decision can't be read.
    """
    propensity = read_accepted(fields["decision"]).propensity if definition.counts_propensities else 1.0
    return Shown(fields["decided_at_ms"], fields["context_vector"], propensity, fields["action_id"])
