"""Re-derive what was published, count the past by other rules, send again what was refused, forget whom one must.

prefixes.py      many prefixes at once, in one pass                     PURE
lineage.py       the line of a policy's snapshots                       PURE
sample.py        a quick look at single ledger records                  PURE
compare.py       a snapshot against what it should be                   PURE
diff.py          a snapshot against another                             PURE
read.py          read a topic's partitions up to given offsets
history.py       read what was published
parts.py         find the parts of large snapshots again
verify.py        prove published snapshots
letters.py       dead letters: which to send again, in what order       PURE
dead_letters.py  read them, and send them back
forgetting.py    one person's decisions, and what is yet to be erased   PURE
forget.py        find them, have them erased, record that it was done
plan.py          what a replay counts, by which rules                   PURE
cuts.py          between which offsets                                  PURE
recount.py       one partition's past, counted again                    PURE
base.py          what a replay sends                                    PURE
log.py           the topics of a replay, by partition and step
rebuild.py       all partitions, in a folder that remembers
journal.py       what a replay remembers of itself
run.py           a replay from end to end
promote.py       what promoting would change, and when it may be done
ground.py        count anew what snapshots rest on
"""
