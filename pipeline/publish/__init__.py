"""PUBLISH: merge the partitions' statistics, derive the posterior, and number it as an immutable snapshot.

partials.py    the latest statistics of every source partition   PURE
merging.py     buckets → the sums of each arm as they count      PURE
derivation.py  posteriors, of those rows that have changed       PURE
snapshot.py    statistics → posterior → snapshot                 PURE
parts.py       a large snapshot cut into records                 PURE
hold.py        what an operator's directive makes of it          PURE
sending.py     in which order parts are stored and sent
agent.py       the Faust agent around it
"""
