"""Re-derive from the log what was published.

fold.py      a ledger prefix → exact statistics                 PURE
compare.py   a snapshot against what it should be               PURE
read.py      read a topic's partitions up to given offsets
"""
