"""LEARN: fold the ledger into exact statistics per (policy, generation, segment, arm, time bucket).

ledger.py   the fold                     PURE
memory.py   what is remembered           PURE
agent.py    the Faust agent around it
"""
