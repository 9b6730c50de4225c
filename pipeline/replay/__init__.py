"""Re-derive from the log what was published, send again what was refused, and forget whom one must forget.

fold.py          a ledger prefix → exact statistics                     PURE
prefixes.py      many prefixes at once, in one pass                     PURE
lineage.py       the line of a policy's snapshots                       PURE
sample.py        a quick look at single ledger records                  PURE
compare.py       a snapshot against what it should be                   PURE
diff.py          a snapshot against another                             PURE
read.py          read a topic's partitions up to given offsets
history.py       read what was published
verify.py        prove published snapshots
letters.py       dead letters: which to send again, in what order       PURE
dead_letters.py  read them, and send them back
forgetting.py    one person's decisions, and what is yet to be erased   PURE
forget.py        find them, have them erased, record that it was done
"""
