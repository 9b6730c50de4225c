"""What strangers do: plain sockets, and no code of the node's."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

WITHIN_S = 30.0
POLICY = "homepage"


class Told(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: Any


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with connect(port) as made:
        yield made


def decide(key: str = "", body: bytes = b"{}", policy: str = POLICY) -> bytes:
    bearer = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST /v1/policies/{policy}/decide HTTP/1.1\r\nhost: 127.0.0.1\r\n{bearer}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def send(peer: socket.socket, data: bytes) -> None:
    """Send as much as the other side takes; that it goes away meanwhile is what is asked for."""
    with contextlib.suppress(ConnectionError):
        peer.sendall(data)


def answer(peer: socket.socket) -> Told:
    """Read one answer."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        part = peer.recv(65_536)
        assert part, f"the connection ended after {raw[:200]!r}"
        raw += part
    head, _, content = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    while len(content) < int(headers.get("content-length", "0")):
        content += peer.recv(65_536)
    length = int(headers.get("content-length", "0"))
    assert len(content) == length, "there is more than one answer: read them apart"
    return Told(int(lines[0].split()[1]), headers, json.loads(content) if length else None)


def is_closed(peer: socket.socket) -> bool:
    """Wait until the other side ends the connection; False: it did not in time."""
    peer.settimeout(WITHIN_S)
    try:
        while peer.recv(65_536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def resident_bytes(pid: int) -> int:
    """Return what a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def wait_until(is_so: Any, what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
