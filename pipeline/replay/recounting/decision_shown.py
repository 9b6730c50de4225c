"""What a ledger record says of its decision, as far as tallies go by it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.codec.wire import read_accepted
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.samples import Drawn, is_sampled
from pipeline.policy.tallies import Shown


def shown_by(definition: PolicyDefinition, fields: Mapping[str, Any]) -> Shown:
    """Return what was shown; how it was drawn, which the record's decision says, only where the policy counts that.

    Raises:
        DecodeError: the decision can't be read.
    """
    propensity, drawn, action_id = 1.0, None, fields["action_id"]
    is_looked_at = is_sampled(action_id, definition.monitors.sample)
    if definition.counts_propensities or is_looked_at:
        decision = read_accepted(fields["decision"])
        propensity = decision.propensity
        if is_looked_at:
            drawn = Drawn(decision.arm, decision.eligible, decision.probabilities, decision.reason)
    return Shown(fields["decided_at_ms"], fields["context_vector"], propensity, action_id, drawn)
