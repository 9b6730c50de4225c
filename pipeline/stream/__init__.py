"""The only home of Faust and RocksDB plumbing.

What happens to a fetched batch, and who calls whom:

     1  the group gives this worker partitions                log/group.py  Member (Faust) → app.py on_rebalance_end
     2  each stage begins a lane for each of them             app.py        → log/lanes.py Lanes.start
     3  a lane opens its state: claims, restores, compares    log/lanes.py  → stage.open → state/partitions.py
     4  and begins a reading at the offset where it ends      log/lanes.py  → log/reader.py LogReader.begin
     5  the reader asks brokers, keeps what is committed      log/reader.py → log/fetch.py content_of
     6  the lane takes all that has come, as one `Batch`      log/lanes.py  → log/reading.py Reading.take
     7  JOIN, LEARN or PUBLISH makes steps of it              log/lanes.py  → join|learn|publish/agent.py handle
     8  a step is durable: outputs, changelog, disk           agent.py      → state/durable.py make_durable
     9  the lane acknowledges where reading goes on           log/lanes.py  → log/group.py Member.acknowledge
    10  Faust commits that now and then, for people                log/group.py  Member.force_commit

A handler that fails goes from 7 back to 3, on what is durable. While partitions are moved lanes rest at 6; of what
stays they find all open when they begin anew, and at 3 there is nothing to do (log/handover.py).

app.py         the whole wiring on one screen
metrics.py     a worker's counts for Prometheus
health.py      how a worker is: alive, ready, caught up
event_loop.py  what holds the event loop: work in steps, and a watch
policies.py    the policies that this process knows

state/         tables of a partition
    tables         RocksDB-backed Faust tables that are written by the batch
    durable        a step: broker, then changelog, then RocksDB
    changelog      its layout
    restore        a partition's rows, back from it
    partitions     those that are open
    scratch        a RocksDB of a tool's own
log/           a partition's log
    topics         which topics there are, and how they are made
    fetch          what of it is committed, and which offsets that covers
    offsets        where partitions begin and end, by one request to each leader
    reading        one partition that is read: what has come, and was not taken yet
    reader         read partitions from given offsets on; all that reads, reads by this
    follow         read a topic from its start and keep up with it
    group          membership of the consumer group, by Faust: who owns what, and commits
    handover       what a rebalance takes away is closed, what stays is left open
    lanes          a stage's partitions, each read, handled and acknowledged by itself
    chores         what is done on open partitions beside that: snapshots, ticks
    claim          who writes to a partition; an earlier owner is fenced
    deployment     which application works a cluster's topics: there is one
    outbox         deliver records, and know that they were delivered
    identity       which log a partition is: topic id, leader epoch, first offset, end
    continuity     whether it is still the one that was read: pure
    sources        what a stage has read of its logs, kept in its state
    transactions   who has claimed what, by a request that no client sends yet
    watch          look again, while they are read, whether they are still those
    snapshot_records   the snapshots among a topic's records, for commands
    passed_over        what of a log is no record of its kind, told of by offset

security.py         how clients connect
credentials.py      the same, as Faust wants it
connections.py      aiokafka's, mended: those that broke, and those to a host that is gone
liveness.py         whether the host behind a connection lives
timeouts.py         how long every client waits, and why
refusals.py         what a Kafka error means to who reads it
record_batches.py   the batches of an answer, each of which gives its records whatever it holds
decompress.py       every codec, within a bound
supervise.py        work that goes on until somebody ends it on purpose
failpoints.py       where a test may stop a process
"""
