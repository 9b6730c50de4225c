"""LEARN: fold the ledger into exact statistics per (policy, generation, segment, arm, time bucket).

ledger.py   the fold                     PURE
columns.py  the same for a whole batch   PURE
memory.py   what is remembered           PURE
agent.py    the Faust agent around it
"""
