"""A proof by other code: the ledger folded in whole numbers and dictionaries, and held against what was published.

Nothing here is shared with what it proves: no arrays, no column is read by position, no fold, merge or posterior of the
stages. What the ledger means is said again, from `schemas/*.avsc` and the decisions, as plainly as it can be said.

records.py    bytes → ledger records and snapshots, by Avro's own library   PURE
fold.py       ledger records → sums                                         PURE
checkpoint.py what a partition has come to ↔ its lines and their name       PURE
spans.py      sums by bucket → what is counted together                     PURE
definition.py a snapshot's definition → what the sums are read with         PURE
posterior.py  sums → posteriors, where that is simple                       PURE
proof.py      a snapshot against its sums                                   PURE
read.py       the ledger, partition by partition
"""
