"""The loop from outside: real worker processes, and a client that produces, watches and waits.

worker.py      a worker process that can be killed
supervised.py  a worker that is started again whenever it ends
membership.py  what the broker believes of who is there
client.py      policies, records and ticks in; snapshots and dead letters out
published.py   the snapshots among a topic's records, whole, in parts or as outlines
logs.py        what befalls a topic from outside
topics.py      the topics of one test on a Kafka that several tests share
place.py       a broker with those topics, and workers on it
known.py       a known stream and what must come of it
flow.py        a known stream, sent bit by bit
poison.py      records that can't be used
exactness.py   what the loop has come to, held against what it must come to
"""
