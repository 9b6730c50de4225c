"""Three Kafkas that are one cluster, each broker and controller, as production has them and on a laptop.

process    one of them: killed, frozen, stopped, started again, on one folder and its ports
cluster    all three, from the download that `pipeline.brokers` uses
roles      who of them leads a partition, coordinates a group or an owner's name, is the controller
place      a test's topics on it
producer   sends without being held up by any of them
secured    one with TLS, SCRAM and the grants of docs/brokers.md
replicas   on which of them a partition lies, and moving it
"""
