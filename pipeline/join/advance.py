"""Event time passes: rows fall due, in order. Pure."""

from __future__ import annotations

from pipeline.join.changes import STEP_BYTES, ActionRows, Changes, no_decision, refused_outcome
from pipeline.join.emit import Emitter
from pipeline.join.progress import Progress
from pipeline.join.row import UNTOLD, ActionRow
from pipeline.policy.book import PolicyBook


def advance(
    progress: Progress, at_end: frozenset[str], store: ActionRows, book: PolicyBook, limit: int
) -> Changes | None:
    """Let event time pass over up to `limit` due rows; None when no row is due and time stands still.

    Call it again until it returns None. Each ledger record is stamped with the time at which its row fell due.
    """
    target_ms = progress.next_event_time_ms(at_end)
    due = store.due(target_ms, limit)
    if not due and target_ms == progress.event_time_ms:
        return None
    changes, emitter = Changes(), Emitter(book)
    rows = store.load([action_id for _, action_id in due])
    is_all = len(due) < limit
    size = 0
    for due_ms, action_id in due:
        row = rows.get(action_id)
        if row is None or row.due_ms != due_ms:
            changes.gone_due.append((due_ms, action_id))
            continue
        size += row.stored_bytes
        if size > STEP_BYTES and changes.rows:
            is_all = False
            break
        _fall_due(action_id, row, progress, emitter, changes)
        if changes.rows[action_id] is None:
            changes.gone_due.append((due_ms, action_id))
    # What was cut off may stand between rows of the same time: time stops just before it.
    reached_ms = target_ms if is_all else due_ms - 1
    progress.event_time_ms = max(progress.event_time_ms, reached_ms)
    return changes


def _fall_due(action_id: str, row: ActionRow, progress: Progress, emitter: Emitter, changes: Changes) -> None:
    counts = progress.counts
    if not row.has_decision:
        for outcome in row.awaiting:
            counts["outcomes.awaiting-decision"] -= 1
            counts["outcomes.expired-orphan"] += 1
            changes.refusals.append(refused_outcome(outcome, no_decision(action_id, row.due_ms)))
        changes.rows[action_id] = None
    elif row.is_settled:
        changes.rows[action_id] = None
    else:
        counts["decisions.open"] -= 1
        counts["decisions.settled"] += 1
        stamp_ms = max(row.due_ms, progress.event_time_ms)
        row.is_settled = True
        row.due_ms = row.expires_ms
        row.told = UNTOLD
        changes.rows[action_id] = row
        record = emitter.record(action_id, row, stamp_ms)
        if record is not None:
            changes.rewards.append(record)
