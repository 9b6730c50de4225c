"""What an attacker does to a serving node for as long as it is let: one table, for tests and for the bench.

    python -m tests.attack.attacks NAME PORT KEY SECONDS

plays one of them in a process of its own, and prints what it was answered as JSON: a count for each status, and for
connections that the node ended (`closed`). Plain sockets, and no code of the node's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

JSON = "content-type: application/json\r\n"
MOST_HELD = 1_500
"""Sockets of an attacker's own."""


class Target(NamedTuple):
    """Where, with which key, until when; and what has come back."""

    port: int
    key: str
    until_s: float
    seen: Counter[str]

    @property
    def is_on(self) -> bool:
        """Whether the attack goes on."""
        return time.monotonic() < self.until_s

    def post(self, path: str, body: Any, *, key: str | None = None) -> bytes:
        """Return a request of the tenant's."""
        raw = json.dumps(body).encode()
        bearer = f"authorization: Bearer {self.key if key is None else key}\r\n"
        return (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{bearer}{JSON}content-length: {len(raw)}\r\n\r\n".encode()
            + raw
        )


class Attack(NamedTuple):
    """One thing that is done to a node."""

    what: str
    """As the table tells it."""
    play: Callable[[Target], Awaitable[object]]
    answered: frozenset[str]
    """What may come back: statuses, `closed`."""
    has_key: bool = True
    """Whether a tenant does it, or a stranger."""


def flood(connections: int, request: Callable[[Target], bytes]) -> Callable[[Target], Awaitable[object]]:
    """Ask the same again and again, on so many connections."""

    async def one(target: Target, raw: bytes) -> None:
        while target.is_on:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
                with contextlib.closing(writer):
                    while target.is_on:
                        writer.write(raw)
                        head = await reader.readuntil(b"\r\n\r\n")
                        target.seen[head[9:12].decode()] += 1
                        length = re.search(rb"content-length: (\d+)", head)
                        await reader.readexactly(int(length[1]) if length else 0)
                continue
            target.seen["closed"] += 1
            await asyncio.sleep(0.01)

    async def play(target: Target) -> None:
        raw = request(target)
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + target.until_s - time.monotonic()):
            await asyncio.gather(*(one(target, raw) for _ in range(connections)))

    return play


def send_without_end(connections: int, head: bytes, part: bytes) -> Callable[[Target], Awaitable[object]]:
    """Send a beginning and then the same part for ever, on so many connections; whoever is cut off comes again."""

    async def one(target: Target) -> None:
        while target.is_on:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
                with contextlib.closing(writer):
                    writer.write(head)
                    while target.is_on and not reader.at_eof():
                        writer.write(part)
                        await writer.drain()
            target.seen["closed"] += 1

    async def play(target: Target) -> None:
        await asyncio.gather(*(one(target) for _ in range(connections)))

    return play


def hold(data: bytes, connects_per_s: int) -> Callable[[Target], Awaitable[object]]:
    """Open connections, send what is no whole request, and keep them."""

    async def play(target: Target) -> None:
        held: list[socket.socket] = []
        while target.is_on:
            for _ in range(connects_per_s // 20):
                with contextlib.suppress(OSError):
                    made = socket.create_connection(("127.0.0.1", target.port), timeout=1.0)
                    held.append(made)
                    if data:
                        made.send(data)
            while len(held) > MOST_HELD:
                held.pop(0).close()
                target.seen["closed"] += 1
            await asyncio.sleep(0.05)
        for each in held:
            each.close()

    return play


def never_read(readers: int, request: Callable[[Target], bytes]) -> Callable[[Target], Awaitable[object]]:
    """Ask, and read nothing of what is answered."""

    async def play(target: Target) -> None:
        raw = request(target)
        peers: list[socket.socket] = []
        while target.is_on:
            while len(peers) < readers:
                made = socket.create_connection(("127.0.0.1", target.port), timeout=1.0)
                made.settimeout(0.0)
                peers.append(made)
            for each in list(peers):
                try:
                    each.send(raw)
                except BlockingIOError:
                    pass
                except OSError:
                    peers.remove(each)
                    each.close()
                    target.seen["closed"] += 1
            await asyncio.sleep(0.02)
        for each in peers:
            each.close()

    return play


def _batch(policy: str, rows: Sequence[Any], *fields: str) -> Callable[[Target], bytes]:
    body = {"requests": rows, **({"fields": fields} if fields else {})}
    return lambda target: target.post(f"/v1/policies/{policy}/decide/batch", body)


def _get(path: str, times: int = 1) -> Callable[[Target], bytes]:
    return lambda _: f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() * times


CANDIDATES = {f"new-{number}": {f"z{i}": 0.5 for i in range(4)} for number in range(500)}
FEATURES = {f"f{i}": 0.5 for i in range(15)}
WIDE = {f"a-field-that-is-no-feature-{i}": 1.0 for i in range(40)}
OUTCOMES = {"outcomes": [{"action_id": "a", "kind": "click"}] * 500}
DONE = frozenset({"200"})
CUT_OFF = frozenset({"closed"})
BEGUN = b"POST /v1/outcomes HTTP/1.1\r\nhost: localhost\r\n"

ATTACKS: dict[str, Attack] = {
    "batches": Attack("16 × batches of 500 among 1,000 arms", flood(16, _batch("big", [{}] * 500)), DONE),
    "long-answers": Attack(
        "16 × batches of 100 among 1,000 arms, with probabilities",
        flood(16, _batch("big", [{}] * 100, "probabilities")),
        DONE,
    ),
    "long-bodies": Attack(
        "16 × batches of 500 with 40 fields each, 0.7 MB", flood(16, _batch("small", [{"context": WIDE}] * 500)), DONE
    ),
    "decisions": Attack(
        "64 × decisions among 1,000 arms", flood(64, lambda to: to.post("/v1/policies/big/decide", {})), DONE
    ),
    "small-decisions": Attack(
        "64 × decisions among 20 arms", flood(64, lambda to: to.post("/v1/policies/small/decide", {})), DONE
    ),
    "candidates": Attack(
        "16 × decisions among 500 candidates",
        flood(16, lambda to: to.post("/v1/policies/bench/decide", {"context": FEATURES, "candidates": CANDIDATES})),
        DONE,
    ),
    "explanations": Attack(
        "16 × explanations of 1,000 arms", flood(16, lambda to: to.post("/v1/policies/big/explain", {})), DONE
    ),
    "outcomes": Attack(
        "16 × batches of 500 outcomes", flood(16, lambda to: to.post("/v1/outcomes/batch", OUTCOMES)), DONE
    ),
    "unread-batches": Attack(
        "50 readers of batches with probabilities that don't read",
        never_read(50, _batch("big", [{}] * 100, "probabilities")),
        CUT_OFF,
    ),
    "wrong-keys": Attack(
        "64 × decisions with a made-up key",
        flood(64, lambda to: to.post("/v1/policies/small/decide", {}, key="made-up")),
        frozenset({"401"}),
        has_key=False,
    ),
    "pages": Attack("250 × a page that needs no key", flood(250, _get("/openapi.json")), DONE | CUT_OFF, has_key=False),
    "half-sent": Attack("2,000 half-sent requests a second", hold(BEGUN[:40], 2_000), CUT_OFF, has_key=False),
    "silent": Attack("2,000 silent connections a second", hold(b"", 2_000), CUT_OFF, has_key=False),
    "heads": Attack(
        "heads without end, 8 at a time",
        send_without_end(8, b"GET / HTTP/1.1\r\n", b"x: " + b"y" * 60_000 + b"\r\n"),
        CUT_OFF,
        has_key=False,
    ),
    "lines": Attack(
        "header lines without end, 8 at a time",
        send_without_end(8, b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 10_000),
        CUT_OFF,
        has_key=False,
    ),
    "urls": Attack(
        "URLs without end, 8 at a time", send_without_end(8, b"GET /", b"a" * 60_000), CUT_OFF, has_key=False
    ),
    "chunks": Attack(
        "bodies without end, in chunks of a byte, 8 at a time",
        send_without_end(8, BEGUN + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 10_000),
        CUT_OFF,
        has_key=False,
    ),
    "unread-pages": Attack(
        "100 readers that don't read", never_read(100, _get("/openapi.json", 20)), CUT_OFF, has_key=False
    ),
    "sent-ahead": Attack(
        "requests sent without end before their answers, 8 at a time",
        send_without_end(8, b"", _get("/healthz", 500)(Target(0, "", 0.0, Counter()))),
        CUT_OFF,
        has_key=False,
    ),
}


def main(name: str, port: str, key: str, seconds: str) -> None:
    """Play one attack and print what came back."""
    target = Target(int(port), key, time.monotonic() + float(seconds), Counter())
    with contextlib.suppress(TimeoutError):
        asyncio.run(ATTACKS[name].play(target))
    sys.stdout.write(json.dumps(target.seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
