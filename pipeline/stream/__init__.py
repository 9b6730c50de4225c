"""The only home of Faust and RocksDB plumbing.

topics.py    which topics there are, and how they are made
batch.py     Faust's transport, handing a whole fetched batch of a partition to an agent as one event
state.py     RocksDB-backed Faust tables that are written by the batch
outbox.py    deliver records, and know that they were delivered
scratch.py   a RocksDB of a tool's own
follow.py    read a topic from its start and keep up with it (no consumer group)
policies.py  the policies that this process knows
shell.py     run a stage's handler over its stream; never lose an exception
app.py       the whole wiring on one screen
"""
