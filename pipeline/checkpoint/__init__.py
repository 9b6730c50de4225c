"""Checkpoints of the ledger: what one partition of it has come to at an offset, named by its content.

A fold that begins at one is the fold that began at offset 0. Whoever has folded the ledger up to there comes to the
same bytes, so a checkpoint is believed by being made again, and what lies behind it has not to be folded twice
(ops/decisions/0065-checkpoints.md).

lines.py    what is remembered ↔ lines of text, each saying one thing    PURE
parts.py    lines → parts that are named by their content                PURE
head.py     what names a checkpoint, and the one before it               PURE
state.py    a partition of the ledger as far as it is folded ↔ lines     PURE
topic.py    which of them the topic `checkpoints` holds, and what they say
write.py    LEARN's stored rows → the topic, beside its lanes
trust.py    which of them a proof may begin at
begin.py    where it begins, and what it comes by
"""
