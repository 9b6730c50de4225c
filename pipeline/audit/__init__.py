"""What operators do to a running system, kept in the topic `audit`: who, when, by which command, before and after.

entry.py   the record, its bounds, and what of two records of one act is shown      PURE
record.py  the only way to write as an operator: told before it is done, and after
read.py    the topic, read
"""
