"""The columns of exported tables: what stands in each, and in which unit. Pure.

Columns are added at the end, and never change what they mean; `VERSION` stands in every file.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

VERSION = 1

Kind = Literal["string", "int32", "int64", "double", "bool", "timestamp", "strings", "doubles", "outcomes"]
"""`timestamp` is in milliseconds, UTC; `outcomes` a list of structures, as they were credited."""


class Column(NamedTuple):
    """One of them."""

    name: str
    kind: Kind
    text: str
    """What it says; stands in the file beside it."""


PARTS = (
    Column("policy", "string", "The policy: a folder of the path."),
    Column("day", "string", "Day of decided_at, UTC, such as 2026-11-30: a folder of the path."),
)
"""Columns that a reader has from the path."""

LEDGER = (
    Column("action_id", "string", "The decision."),
    Column("generation", "int32", "Of the policy."),
    Column("segment", "string", "That it was counted in."),
    Column("arm", "string", "What was shown."),
    Column("decided_at", "timestamp", "When it was decided."),
    Column("revision", "int64", "Facts known of it: 1 for itself, 1 for each credited outcome, 1 when settled."),
    Column("is_settled", "bool", "Its attribution window has closed."),
    Column(
        "reward",
        "double",
        "What it has earned, in the policy's units, by the rules that it was credited by; null where those are not "
        "among the policies that are applied.",
    ),
    Column("propensity", "double", "Chance that this arm had to be shown; null where the decision can't be read."),
    Column("eligible", "strings", "The arms that could have been shown."),
    Column("probabilities", "doubles", "Their chances, in the order of `eligible`; empty where they were not told."),
    Column("reason", "string", "policy, fallback or holdout."),
    Column("is_analysis", "bool", "Of the analysis group, from which nothing is learned."),
    Column("snapshot_version", "int64", "What it was decided by; 0: none."),
    Column("snapshot_id", "string", "The same, by content."),
    Column("context", "string", "What is kept of the context, as JSON."),
    Column("undecodable", "string", "Why its context gave no vector, so that nothing was learned; empty: it gave one."),
    Column("outcomes", "outcomes", "What was credited to it: outcome_id, kind, value, occurred_at."),
    Column("attribution", "string", "Hash of the rules that made the reward."),
    Column("expires_at", "timestamp", "Event time from which on its revision is the last."),
    Column("ledger_partition", "int32", "Where this revision lies in the topic rewards."),
    Column("ledger_offset", "int64", "The same."),
)
