"""Ports on loopback for a broker to listen on."""

from __future__ import annotations

import secrets
import socket

HOST = "127.0.0.1"
# Below the ports that the system gives to outgoing connections (from 32768 on Linux, 49152 elsewhere):
# a client that retries while Kafka is away could otherwise be given Kafka's port, and keep it.
_PORTS = range(15_000, 32_000)


def free_ports(count: int) -> tuple[int, ...]:
    """Find ports on loopback that nobody listens on now."""
    found: set[int] = set()
    while len(found) < count:
        port = secrets.choice(_PORTS)
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
        found.add(port)
    return tuple(found)
