"""What an operator sets of a serving node, validated whole before anything is connected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.errors import ConfigError
from pipeline.serve.addresses import is_loopback
from pipeline.serve.keys import ApiKey
from pipeline.serve.limits import Limits
from pipeline.serve.subject import salt_fault
from pipeline.stream.security import Address, servers_of

SMALLEST_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """A serving node."""

    broker: Address
    """Bootstrap servers, `host:port[,host:port]`."""
    subject_salt: str = field(default="", repr=False)
    """Secret of the deployment, the same on every node: keys the hash of a person's id. Empty: none is accepted."""
    subject_salt_file: Path | None = None
    """Where it stands, before earlier ones: read again when it changes."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """Port to listen on; 0 takes a free one."""
    buffer_bytes: int = 64 << 20
    """How much may wait for the broker in memory."""
    spill_dir: Path | None = None
    """Folder of this node alone, where records wait while the broker is away; None: in memory only."""
    spill_bytes: int = 1 << 30
    """How much may wait there."""
    when_full: Literal["shed", "slow"] = "shed"
    """What happens when there is no room: a record is shed and counted; or before that, requests wait for room."""
    slow_s: float = 2.0
    """How long a request waits for room before its record is shed after all."""
    drain_timeout_s: float = 10.0
    """How long a stopping node goes on delivering what waits."""
    keys: tuple[ApiKey, ...] = ()
    """Who may ask for what; none: anybody, on loopback."""
    keys_file: Path | None = None
    """Where they stand: read again when it changes."""
    claim_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    """Sign what a page may say of its decisions, the first of them; the same on every node."""
    claim_secret_file: Path | None = None
    """Where they stand: read again when it changes."""
    proxies: tuple[str, ...] = ()
    """Addresses of proxies whose X-Forwarded-For says who asks."""
    is_open: bool = False
    """Whether an address beyond loopback may be served without keys, because the network around it is closed."""
    rate_per_s: float = 0.0
    """What one key, or without keys one address, may cost in a second, in decisions among few arms; 0: anything."""
    page_rate_per_s: float = 20.0
    """What one address may cost in a second through the key of a page; 0: anything."""
    burst: int = 100
    """How many of them may come at once."""
    tls_certificate: Path | None = None
    """PEM file of the certificate and its chain; None: no TLS."""
    tls_key: Path | None = None
    """PEM file of its private key."""
    tls_client_ca: Path | None = None
    """PEM file of the authorities whose certificates of callers stand for keys; None: none does."""
    origins: tuple[str, ...] = ()
    """Web origins whose pages may call this node, such as https://shop.example; `*` for any."""
    server_names: tuple[str, ...] = ()
    """Names that a node without keys may be asked by, beside those of this machine."""
    ready_within_s: float = 3_600.0
    """A node is ready while its youngest snapshot is at most this old."""
    snapshot_keys: Path | None = None
    """PEM file of the publishers' public keys: a snapshot that none of them has signed is refused; None: none is."""
    snapshot_dir: Path | None = None
    """Folder of this node alone, where its live snapshots are kept over a restart; None: nowhere."""
    snapshot_bytes: int = 1 << 30
    """How much may be kept there."""
    recent_bytes: int = 32 << 20
    """How much of recent decisions is kept to be explained, and as much of the snapshots that made them."""
    limits: Limits = field(default_factory=Limits)
    """What a connection may cost before anybody knows whose it is."""
    metrics_host: str = "127.0.0.1"
    """Address of a listener for `/metrics` alone."""
    metrics_port: int | None = None
    """Its port, 0 for a free one; None: metrics are on the main port only."""

    def __post_init__(self) -> None:
        faults = [*self._address_faults(), *self._access_faults(), *self._delivery_faults(), *self.limits.faults()]
        if any(":" not in server for server in servers_of(self.broker)):
            faults.insert(0, f"broker: {str(self.broker)!r} is not host:port[,host:port]")
        if self.subject_salt and (fault := salt_fault(self.subject_salt)):
            faults.append(f"subject_salt: {fault}, or none")
        if self.subject_salt_file is not None and not self.subject_salt:
            faults.append("subject_salt_file: is set without what stands in it")
        if not 0.0 <= self.drain_timeout_s <= 600.0:
            faults.append(f"drain_timeout_s: {self.drain_timeout_s} is not within 0 to 600")
        if not self.ready_within_s > 0.0:
            faults.append(f"ready_within_s: {self.ready_within_s} is not above 0")
        if self.recent_bytes < 0:
            faults.append(f"recent_bytes: {self.recent_bytes} is below 0")
        if faults:
            raise ConfigError("serving node settings", faults)

    def _address_faults(self) -> list[str]:
        faults = []
        if not self.host:
            faults.append("host: is empty; write 127.0.0.1 for this machine alone")
        elif not self.keys and not self.is_open and not is_loopback(self.host):
            faults.append(
                f"host: {self.host} reaches others, and there are no API keys: set --api-keys, or --open where the "
                "network itself lets nobody in"
            )
        for name, port in (("port", self.port), ("metrics_port", self.metrics_port)):
            if port is not None and not 0 <= port <= 65_535:
                faults.append(f"{name}: {port} is not within 0 to 65535")
        return faults

    def _delivery_faults(self) -> list[str]:
        faults = []
        if self.buffer_bytes < SMALLEST_BUFFER_BYTES:
            faults.append(f"buffer_bytes: {self.buffer_bytes} is less than {SMALLEST_BUFFER_BYTES}, one record's size")
        if self.spill_bytes < SMALLEST_BUFFER_BYTES:
            faults.append(f"spill_bytes: {self.spill_bytes} is less than {SMALLEST_BUFFER_BYTES}, one record's size")
        if self.when_full not in {"shed", "slow"}:
            faults.append(f"when_full: {self.when_full!r} is neither shed nor slow")
        if not 0.0 <= self.slow_s <= 60.0:
            faults.append(f"slow_s: {self.slow_s} is not within 0 to 60")
        return faults

    def _access_faults(self) -> list[str]:
        faults = []
        if self.rate_per_s < 0.0:
            faults.append(f"rate_per_s: {self.rate_per_s} is below 0")
        if self.page_rate_per_s < 0.0:
            faults.append(f"page_rate_per_s: {self.page_rate_per_s} is below 0")
        faults += claim_faults(self.keys, self.claim_secrets)
        if self.burst < 1:
            faults.append(f"burst: {self.burst} is below 1")
        if (self.tls_certificate is None) != (self.tls_key is None):
            faults.append("tls_certificate, tls_key: one is set without the other")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            faults.append("tls_client_ca: is set without tls_certificate; callers show a certificate over TLS only")
        faults += [
            f"{name}: there is no file {path}"
            for name, path in (
                ("tls_certificate", self.tls_certificate),
                ("tls_key", self.tls_key),
                ("tls_client_ca", self.tls_client_ca),
            )
            if path is not None and not path.is_file()
        ]
        faults += [
            f"origins: {origin!r} is no origin such as https://shop.example"
            for origin in self.origins
            if origin not in {"*", "null"} and not _is_origin(origin)
        ]
        return faults


def claim_faults(keys: Sequence[ApiKey], secrets: Sequence[bytes]) -> list[str]:
    """Return which keys can't be served without a secret."""
    return [
        f"keys: {key.name} takes outcomes by claims, as it has {'claims' if key.claims else 'policies'}, and there "
        "is no secret to sign them with: set --claim-secret-file"
        for key in keys
        if key.needs_claims and "outcomes" in key.rights and not secrets
    ]


def _is_origin(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    return scheme in {"http", "https"} and bool(separator) and bool(rest) and "/" not in rest
