"""SERVE: stateless nodes that follow `snapshots` and decide locally; an answer never waits for a broker.

    snapshot.py   a snapshot record, parsed once, ready to decide with   PURE
    decide.py     snapshot + context → arm, propensity, decision record  PURE
    plan.py       its first step: which arms, and whether to ask         PURE
    choose.py     its second: contexts → vectors → the model's weights   PURE
    decided.py    what it comes to                                       PURE
    guardrails/   what is done to a model's weights before the draw      PURE
    rollout.py    which policy decides, and who decides in its shadow    PURE
    explain.py    what the snapshot thinks of each arm, and why          PURE
    recent.py     what was decided lately, in bounded memory             PURE
    ids.py        names for actions and outcomes                         PURE
    subject.py    a person's id → the hash that is logged                PURE
    bodies.py     what HTTP requests carry; answers.py: what answers do  PURE
    intake.py     bodies → what is decided and logged                    PURE
    reading.py    bytes → a checked body, or its fault                   PURE
    operations.py what is served, as a table                             PURE
    openapi.py    the routes' table → the OpenAPI document               PURE
    keys.py       API keys and their rights; limits.py: how often        PURE
    settings.py   what an operator sets
    access.py     who may ask, and how often
    metrics.py    the node's counts for Prometheus
    follower.py   the topic `snapshots`, followed; swaps are atomic
    switches.py   the topic `policies`, followed for its kill switches
    delivery.py   decisions and outcomes on their way to the broker; rounds.py: by the batch
    turn.py       requests of one turn of the loop, answered together
    journal.py    what was decided: logged, kept for a while, counted
    status.py     what a node says of itself
    node.py       `ServingNode`: all of the above in one process
    front.py      `decide` over HTTP, in front of all other routes; direct.py: within uvicorn's protocol
    routes.py     the node's HTTP routes
    http.py       the HTTP server: `listening`, and `run_node` until SIGTERM

The names below are the pure ones, so that whoever only decides loads no client and no server.
"""

from __future__ import annotations

from pipeline.serve.decide import decide
from pipeline.serve.decided import Decided, NoAnswer
from pipeline.serve.snapshot import LoadedSnapshot, load_snapshot

__all__ = ["Decided", "LoadedSnapshot", "NoAnswer", "decide", "load_snapshot"]
