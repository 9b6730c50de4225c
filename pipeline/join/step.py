"""Events and time → changed rows, ledger records and dead letters. Pure: no clock, no IO but the rows handed in.

`take` puts records into rows; `advance` lets event time pass, in the order in which rows fall due:

    decided        close = decided + window        expires = close + grace
       │ outcomes credited │ outcomes still credited   │
       ├───────────────────┼───────────────────────────┤
       open                settled                     dropped

An erasure puts a tombstone in the row's place, until the row would have been dropped: what still comes for the action
is passed over.

Both return `Changes`, which the agent makes durable as one unit before the next step reads the rows.
"""

from __future__ import annotations

from pipeline.join.advance import advance
from pipeline.join.changes import STEP_BYTES, ActionRows, Arrival, Changes, Limits, Refusal, decode_arrivals
from pipeline.join.take import take

__all__ = [
    "STEP_BYTES",
    "ActionRows",
    "Arrival",
    "Changes",
    "Limits",
    "Refusal",
    "advance",
    "decode_arrivals",
    "take",
]
