"""How long every Kafka client of this package waits, for what, and why so long: here and nowhere else.

A cluster gives a silent broker up after `broker.session.timeout.ms` (9 s by default), and elects another leader at
once. What a client waits for beyond that is its own doing, so two waits are told apart (`liveness.py`): that for a
host, which is over as soon as it says nothing on another connection either, and that for an answer, which may take a
living broker long: replicas are to write, members are to join.
"""

from __future__ import annotations

CONNECT_WITHIN_S = 5.0
"""TCP, TLS, versions and SASL: a dozen round trips at the most, 0.2 s each from one continent to another."""
SILENT_S = 3.0
"""So long a request is unanswered before its host is asked on another connection whether it lives. A broker collects
its garbage in less, and answers a fetch that finds nothing sooner."""
KNOCK_WITHIN_S = 2.0
"""Of that question: two round trips, three with TLS. With the above, a host that is gone costs 5 s."""
KNOWN_SILENT_S = 0.5
"""Instead of SILENT_S, where another request to the same host has just found it silent."""
AVOIDED_S = 1.0
"""A host that was silent is asked no sooner whether it lives by now. Nobody connects to it before it says so: whoever
did would wait for it, and hear from no other meanwhile."""
REFUSED_S = 0.5
"""Nobody connects to a host sooner after it refused: a worker has a dozen clients and more, which try at once."""
REFUSING_S = 0.1
"""So long it takes to be told that a host is not tried just now: some of aiokafka's loops ask again at once."""
ANSWER_WITHIN_MS = 12_000
"""Of a host that lives. It is also what a producer gives a leader to have its replicas write: longer than the 9 s that
pass until a replica whose host is gone counts no more, or the same records would be sent again, and lie there twice
where the producer is not idempotent."""
REBALANCE_WITHIN_S = 60.0
"""For all members to come to a rebalance. A worker rests within 20 s (`log/lanes.py`, `log/chores.py`), commits, and
closes its databases; one that is gone is not waited for longer than its session."""
JOIN_WITHIN_S = 90.0
"""A member's request to join is answered when all have come, or when their time is over."""
METADATA_AGE_MS = 30_000
"""A client learns of brokers that were added, and of leaders that moved while it asked nobody."""
IDLE_CONNECTION_MS = 240_000
"""Closed by us when unused for so long: load balancers and firewalls forget an idle connection after 350 s or
thereabouts and tell nobody, brokers close it after 600."""


def answer_within_s(session_timeout_s: float) -> float:
    """Return how long a group member's requests may take; Faust wants it to be no shorter than the session.

    >>> answer_within_s(10.0), answer_within_s(300.0)
    (90.0, 300.0)
    """
    return max(JOIN_WITHIN_S, session_timeout_s)
