"""Who is served as everybody and never learned from, so that what they earn says honestly what the policy is worth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnalysisGroup:
    """A share of subjects whose decisions are told in the ledger and not learned from.

    Each decision says itself whether it is one, so the share may change at any time: what was learned stays learned,
    and a share that grows keeps whom it has.
    """

    share: float
    """Of the subjects that are not held out, in (0, 1); a decision without a subject is in or out by its action."""
    salt: str = ""
    """Another salt chooses other subjects."""

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"share": self.share, **({"salt": self.salt} if self.salt else {})}
