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
    fetch          what of it is committed, and which offsets that covers
    reader         read partitions from given offsets on; all that reads, reads by this
    follow         read a topic from its start and keep up with it
    group          membership of the consumer group, by Faust: who owns what, and commits
    lanes          a stage's partitions, each read, handled and acknowledged by itself
    claim          who writes to a partition; an earlier owner is fenced
    outbox         deliver records, and know that they were delivered

security.py    how clients connect; credentials.py: as Faust wants it; connections.py: broken ones
supervise.py   work that goes on until somebody ends it on purpose
failpoints.py  where a test may stop a process
"""
