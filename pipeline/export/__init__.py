"""Data out: the ledger as Parquet files, to a stated end, all or nothing.

    topic `rewards`, a partition at a time ─▶ latest.py   of each decision its last revision, once no other can come
                                              ledger.py   its row, rewards in units; columns.py says which there are
                                              chunks.py   rows by policy and day, so many at once
                                              parquet.py  a file each
                                              folder.py   all of them under their names, at the end, or none

What a folder holds is a function of the ledger up to the offsets that its `_export.json` names, of the policies, and of
who was forgotten since: the erased are looked for up to the present end, however old the stated one is.
"""
