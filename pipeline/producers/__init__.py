"""For whoever writes records: what becomes of one, an example of one, and what becomes of them all, live.

check.py     records → what JOIN would make of each      PURE
example.py   a policy → a record that it accepts         PURE
told.py      records of a deployment → lines for people  PURE
tail.py      the topics, followed from now on
"""
