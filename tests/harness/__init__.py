"""The loop from outside: real worker processes, and a client that produces, watches and waits.

worker.py   a worker process that can be killed
client.py   policies, records and ticks in; snapshots and dead letters out
topics.py   the topics of one test on a Kafka that several tests share
"""
