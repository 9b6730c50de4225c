"""A caller with a key who asks for little: a decision every other millisecond, in a process of its own.

    python -m tests.attack.asking PORT KEY SECONDS (kept | new)

prints as JSON how long each answer took, on one kept connection or on a new one each time, and the statuses.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections import Counter

PAUSE_S = 0.002
PATIENCE_S = 10.0


def ask(peer: socket.socket, raw: bytes) -> str:
    """Return the status of one answer, read whole."""
    peer.sendall(raw)
    data = b""
    while b"\r\n\r\n" not in data:
        part = peer.recv(65_536)
        if not part:
            raise ConnectionError("closed")
        data += part
    head, _, content = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    while len(content) < int(length[1] if length else 0):
        content += peer.recv(65_536)
    return head[9:12].decode()


def main(port: str, key: str, seconds: str, connection: str) -> None:
    """Ask until the time is over."""
    raw = (
        f"POST /v1/policies/small/decide HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    ).encode()
    seen: Counter[str] = Counter()
    took_ms: list[float] = []
    peer: socket.socket | None = None
    until_s = time.monotonic() + float(seconds)
    while time.monotonic() < until_s:
        began_s = time.perf_counter()
        try:
            if peer is None:
                peer = socket.create_connection(("127.0.0.1", int(port)), timeout=PATIENCE_S)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            seen[ask(peer, raw)] += 1
        except OSError:
            seen["closed"] += 1
            peer = None
        took_ms.append((time.perf_counter() - began_s) * 1e3)
        if peer is not None and connection == "new":
            peer.close()
            peer = None
        time.sleep(PAUSE_S)
    sys.stdout.write(json.dumps({"seen": seen, "took_ms": took_ms}))


if __name__ == "__main__":
    main(*sys.argv[1:])
