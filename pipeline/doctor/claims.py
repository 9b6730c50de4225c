"""Who may write to which partition of a stage: of each, whoever claimed it last (`stream/log/claim.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.doctor.checks import Finding, grant_command
from pipeline.doctor.facts import Claimed, Deployment
from pipeline.stream.log import topics

TABLES = (topics.JOIN_TABLE, topics.LEARN_TABLE, topics.PUBLISH_TABLE)


def claim_findings(
    claims: Mapping[str, Claimed | None] | None, deployment: Deployment, app_id: str, broker: str, now_ms: int
) -> Iterator[Finding]:
    """Look whether what workers have is claimed, and whether a claim's transaction hangs."""
    if claims is None:
        yield Finding(
            "warn",
            "claims of all stages",
            "can't be seen",
            f"Kafka 3.0 or newer, and Describe on transactional ids that begin with {app_id}-",
            grant_command("transactional-id", f"{app_id}-", "Describe", broker, is_prefix=True),
        )
        return
    for table in TABLES:
        of_table = {name: claim for name, claim in claims.items() if name.startswith(f"{app_id}-{table}-")}
        if of_table:
            yield _of_stage(table, of_table, deployment)
    for name, claim in claims.items():
        if claim is not None and 0 <= claim.started_at_ms < now_ms - claim.timeout_ms:
            open_s = (now_ms - claim.started_at_ms) / 1000
            seen = f"its transaction is {claim.state} since {open_s:.0f} s"
            needed = f"none longer than {claim.timeout_ms / 1000:g} s: what stands behind it is read by nobody"
            mend = "kafka-transactions.sh find-hanging, then abort; the worker that owns it may be gone"
            yield Finding("warn", f"claim {name}", seen, needed, mend)


def _of_stage(table: str, claims: Mapping[str, Claimed | None], deployment: Deployment) -> Finding:
    taken = {name: claim for name, claim in claims.items() if claim is not None}
    epochs = [claim.epoch for claim in taken.values()]
    seen = f"{len(taken)} of {len(claims)} partitions" + (f", epochs {min(epochs)} to {max(epochs)}" if epochs else "")
    if deployment.holders:
        seen += "; workers: " + ", ".join(f"{who} has {count}" for who, count in sorted(deployment.holders.items()))
    what = f"claims of {table}"
    if deployment.owned and len(taken) < len(claims):
        missing = sorted(int(name.rpartition("-")[2]) for name, claim in claims.items() if claim is None)
        mend = f"look for partition {missing[0]} in the workers' log; while they move, wait"
        return Finding("warn", what, seen, "each claimed by the worker that has it", mend)
    return Finding("ok", what, seen)
