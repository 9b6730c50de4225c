"""The whole loop, played: simulated visitors, or a log of real ones.

visitors.py     simulated visitors and all they would do            PURE
regret.py       what choices cost, on the same visitors              PURE
freshness.py    outcome sent → first decision that knows of it       PURE
recount.py      the ledger, counted a second time                    PURE
open_bandit.py  rows of the Open Bandit dataset → records            PURE
failure.py      the error that ends a demo
processes.py    workers and nodes as child processes
members.py      which workers have partitions
stage.py        broker, topics, policy, workers: ready to play
console.py      a console beside it, and what stays up
watch.py        ledger, snapshots and dead letters, followed
play.py         visitors decide and act over HTTP
simulated.py    the first demo: visitors            cli: `pipeline demo`
logged.py       the second: a log, played           cli: `pipeline demo --log open-bandit`
progress.py, table.py, picture.py    what a person sees
"""
