"""What an operator sets of a serving node, validated whole before anything is connected."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.errors import ConfigError

# BLAKE2b takes a key of up to 64 bytes; 16 are what a guesser can't try out.
SALT_BYTES = (16, 64)
SMALLEST_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """A serving node."""

    broker: str
    """Bootstrap servers, `host:port[,host:port]`."""
    subject_salt: str = field(default="", repr=False)
    """Secret of the deployment, the same on every node: keys the hash of a person's id. Empty: none is accepted."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """Port to listen on; 0 takes a free one."""
    buffer_bytes: int = 64 << 20
    """How much may wait for the broker; what comes beyond it is dropped and counted."""
    drain_timeout_s: float = 10.0
    """How long a stopping node goes on delivering what waits."""

    def __post_init__(self) -> None:
        faults = []
        if not self.broker or any(":" not in server for server in self.broker.split(",")):
            faults.append(f"broker: {self.broker!r} is not host:port[,host:port]")
        length = len(self.subject_salt.encode())
        if length and not SALT_BYTES[0] <= length <= SALT_BYTES[1]:
            faults.append(f"subject_salt: {length} bytes, expected none, or {SALT_BYTES[0]} to {SALT_BYTES[1]} random")
        if not self.host:
            faults.append("host: is empty; write 127.0.0.1 for this machine alone")
        if not 0 <= self.port <= 65_535:
            faults.append(f"port: {self.port} is not within 0 to 65535")
        if self.buffer_bytes < SMALLEST_BUFFER_BYTES:
            faults.append(f"buffer_bytes: {self.buffer_bytes} is less than {SMALLEST_BUFFER_BYTES}, one record's size")
        if not 0.0 <= self.drain_timeout_s <= 600.0:
            faults.append(f"drain_timeout_s: {self.drain_timeout_s} is not within 0 to 600")
        if faults:
            raise ConfigError("serving node settings", faults)
