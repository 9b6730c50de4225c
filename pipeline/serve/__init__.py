"""SERVE: stateless nodes that follow `snapshots` and decide locally; an answer never waits for a broker.

Rooms, upper ones first; each uses itself and those below it:

    http/         the HTTP edge
        server        `listening`, and `run_node` until SIGTERM
        protocol      a shorter way for decisions; fast_path: the same by ASGI's messages
        limited_protocol  uvicorn's protocol, bounded; edge: what all connections share
        connections   which of them are kept when there are too many                                         PURE
        batches       long requests, row by row
        routes        all routes; operations: what is served, as a table; openapi: that table as a document  PURE
        renewal       files that change while the node runs; tls: the listener's certificates
        handshakes    a listener of TLS, whose connections have places before anybody can be asked
        access        who may ask, and how often; rate_limit: a bucket                                       PURE
        web_pages     what a page of a stranger's could make a browser send                                  PURE
        metrics       the node's counts for Prometheus
    node.py       `ServingNode`: all below in one process; status.py: what it says of itself
    deciding.py   requests → answers with their records: a go of many, one alone, a batch
    delivery/     what was decided, on its way to the broker
        delivery      decisions and outcomes; batch_sender: by the batch; stuck, backlog: what one
                      partition does not take; spill_folder, spill: what waits on disk
        journal       what was decided: logged, kept for a while, counted; recent: that while                PURE
    intake.py     bodies → what is decided and logged                                                        PURE
    decision/     one decision
        decide        snapshot + context → arm, propensity, decision record                                  PURE
        plan          its first step: which arms, and whether to ask                                         PURE
        choose        its second: contexts → vectors → the model's weights                                   PURE
        rollout       which policy decides, and who decides in its shadow                                    PURE
        explain       what the snapshot thinks of each arm, and why                                          PURE
    following/    topics followed
        follower      `snapshots`; swaps are atomic; snapshot: one record, parsed, ready to decide with      PURE
        switches      `policies`, for its kill switches
    guardrails/   what is done to a model's weights before the draw                                          PURE
    messages/     words of requests and answers: bodies, reading (bytes → a checked body), decided, answers  PURE
    settings.py   what an operator sets; limits.py: of the edge; keys.py: API keys and their rights
    batching.py   callers take turns, and are answered together; pieces.py: a long work; costs.py             PURE
    claims.py     what a page may tell of a decision, signed                                               PURE
    addresses.py  what an IP address says of who has it                                                      PURE
    ids.py        names for actions and outcomes; subject.py: a person's id → the hash that is logged        PURE

The names below are the pure ones, so that whoever only decides loads no client and no server.
"""

from __future__ import annotations

from pipeline.serve.decision.decide import decide
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot
from pipeline.serve.messages.decided import Decided, NoAnswer

__all__ = ["Decided", "LoadedSnapshot", "NoAnswer", "decide", "load_snapshot"]
