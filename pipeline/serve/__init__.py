"""SERVE: stateless nodes that follow `snapshots` and decide locally; an answer never waits for a broker.

    snapshot.py   a snapshot record, parsed once, ready to decide with   PURE
    decide.py     snapshot + context → arm, propensity, decision record  PURE
    guardrails/   what is done to a model's weights before the draw      PURE
    rollout.py    which policy decides, and who decides in its shadow    PURE
    ids.py        names for actions and outcomes                         PURE
    subject.py    a person's id → the hash that is logged                PURE
    bodies.py     HTTP bodies → checked requests                         PURE
    settings.py   what an operator sets
    follower.py   the topic `snapshots`, followed; swaps are atomic
    switches.py   the topic `policies`, followed for its kill switches
    delivery.py   decisions and outcomes on their way to the broker
    node.py       `ServingNode`: all of the above in one process
    routes.py     the node's HTTP routes
    http.py       the HTTP server: `listening`, and `run_node` until SIGTERM

The names below are the pure ones, so that whoever only decides loads no client and no server.
"""

from __future__ import annotations

from pipeline.serve.decide import Decided, NoAnswer, decide
from pipeline.serve.snapshot import LoadedSnapshot, load_snapshot

__all__ = ["Decided", "LoadedSnapshot", "NoAnswer", "decide", "load_snapshot"]
