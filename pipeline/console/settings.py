"""What an operator sets of a console, validated whole before anything is connected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import ConfigError
from pipeline.serve.addresses import is_loopback
from pipeline.serve.keys import ApiKey
from pipeline.stream.security import Address

RIGHTS = ("read", "operate")
"""What a key may have here: see everything of its policies; and act on them too."""


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """A console process."""

    broker: Address
    """Bootstrap servers, `host:port[,host:port]`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8090
    """Its port; 0 for a free one."""
    app_id: str = "pipeline"
    """Whose workers are looked at."""
    keys: tuple[ApiKey, ...] = ()
    """Who may come in; without any, everybody on this machine may look, and nobody act."""
    keys_file: Path | None = None
    """Where they were read, to be read again when it changes."""
    server_names: Sequence[str] = ()
    """Names that it is asked by, beside this machine's own."""
    nodes: Sequence[str] = ()
    """URLs of serving nodes to look at."""
    node_key: str = ""
    """What those ask for."""
    workers: Sequence[str] = ()
    """URLs of workers' metrics."""
    tls_certificate: Path | None = None
    """PEM file; None: no TLS."""
    tls_key: Path | None = None
    """PEM file."""
    require_audit: bool = False
    """Whether nothing is done that can't be recorded."""
    ledger_records: int = 2_000_000
    """Longest ledger that a page reads."""

    def __post_init__(self) -> None:
        faults = []
        if not self.keys and not is_loopback(self.host):
            faults.append(
                f"host: {self.host} reaches others, and there are no keys: give --api-keys, or listen on 127.0.0.1"
            )
        if not self.server_names and not is_loopback(self.host):
            faults.append(
                f"server-name: {self.host} reaches others, and by which names they ask is not said: give --server-name "
                "console.example, or any web page could ask by a name of its own"
            )
        lacking = [key.name for key in self.keys if not key.rights & {*RIGHTS}]
        if self.keys and len(lacking) == len(self.keys):
            faults.append(
                f"keys: {', '.join(lacking)} have neither right of {', '.join(RIGHTS)}: nobody could come in. Make one "
                "with `pipeline api-key --name ada --right read --right operate`"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            faults.append("tls: a certificate and its key go together")
        for name, urls in (("node", self.nodes), ("worker-metrics", self.workers)):
            faults += [
                f"{name}: {url!r} is no address such as http://127.0.0.1:8080"
                for url in urls
                if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc
            ]
        if not 0 <= self.port <= 65_535:
            faults.append(f"port: {self.port} is not within 0 to 65535")
        if faults:
            raise ConfigError("console settings", faults)
