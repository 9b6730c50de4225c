"""JOIN: attach outcomes to their decisions inside attribution windows, and write the ledger.

admission.py   which decisions and outcomes a policy accepts      PURE
erasure.py     what is left of an action that is erased          PURE
erasure_check.py  whether an erasure says what can have counted  PURE
row.py         what is remembered of one action                   PURE
progress.py    what is remembered of one partition                PURE
step.py        events and time → changed rows and ledger records  PURE
agent.py       the Faust agent around it
"""
