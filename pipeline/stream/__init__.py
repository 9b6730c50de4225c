"""The only home of Faust and RocksDB plumbing.

app.py         the whole wiring on one screen
metrics.py     a worker's counts for Prometheus
policies.py    the policies that this process knows

state/         tables of a partition
    tables         RocksDB-backed Faust tables that are written by the batch
    durable        a step: broker, then changelog, then RocksDB
    changelog      its layout; restore: a partition's rows, back from it
    partitions     those that are open
    scratch        a RocksDB of a tool's own
log/           a partition's log
    topics         which topics there are, and how they are made
    fetch          Faust's transport, handing a whole fetched batch of a partition to an agent as one event
    pace           how soon it fetches again
    shell          run a stage's handler over its stream; never lose an exception
    follow         read a topic from its start and keep up with it (no consumer group)
    claim          who writes to a partition; an earlier owner is fenced
    outbox         deliver records, and know that they were delivered

security.py    how clients connect; credentials.py: as Faust wants it; connections.py: broken ones
supervise.py   work that goes on until somebody ends it on purpose
failpoints.py  where a test may stop a process
"""
