"""What an erasure leaves of an action: a ledger record that names where it counted, and nothing of the person. Pure."""

from __future__ import annotations

from pipeline.codec.reward import WHOLE, Reward, tallies_in
from pipeline.events import Contribution, Erasure, is_id

ERASED_REVISION = 1 << 62
"""Above any count of facts."""

_NOTHING = Contribution(0, 0, b"", 0, 0, "", is_final=False)


def erased_record(erasure: Erasure, counted: Contribution | None, event_time_ms: int) -> Reward:
    """Return the ledger record of an erased action; where nothing is known of it, a receipt that changes nothing."""
    was = counted or _NOTHING
    return Reward(
        action_id=erasure.action_id,
        revision=ERASED_REVISION,
        is_settled=True,
        policy=_name(erasure.policy),
        generation=erasure.generation,
        segment=_name(erasure.segment),
        arm=_name(erasure.arm),
        reward=was.reward if was.is_final else 0,
        reward_exponent=was.reward_exponent,
        context_vector=was.context_vector,
        decided_at_ms=erasure.decided_at_ms,
        bucket=was.bucket,
        expires_at_ms=was.expires_at_ms,
        event_time_ms=event_time_ms,
        attribution=was.attribution,
        outcomes=(),
        outcomes_before=WHOLE,
        decision=b"",
        is_erased=True,
        is_reward_final=was.is_final,
        tallies=tallies_in(erasure.tallies) if was.is_final else (),
    )


def _name(text: str) -> str:
    """Return a name, and of a decision that was refused for it nothing: it may be somebody's."""
    return text if is_id(text) else "-"
