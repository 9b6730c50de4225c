"""The proxy of `ops/proxy/haproxy.cfg` as it ships, before a node that was told of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.brokers.ports import free_ports
from tests.attack.site import attacked_site
from tests.attack.strangers import Told, answer, decide, is_closed, send, wait_until
from tests.harness.certificates import issue

pytestmark = pytest.mark.attack

CONFIGURATION = Path(__file__).parents[2] / "ops" / "proxy" / "haproxy.cfg"
BURST = 5
MOST_CONNECTIONS = 20


class Proxied(NamedTuple):
    """A proxy, and the keys of who asks through it."""

    port: int
    authority: Path
    shop: str
    page: str

    def connect(self, source: str) -> socket.socket:
        """Connect from an address of this machine."""
        # Wrapped first: a socket that is refused before it is wrapped is taken for one that is not connected yet.
        context = ssl.create_default_context(cafile=self.authority)
        made = context.wrap_socket(socket.socket(), server_hostname="127.0.0.1")
        try:
            made.settimeout(30.0)
            made.bind((source, 0))
            made.connect(("127.0.0.1", self.port))
        except OSError:
            made.close()
            raise
        return made

    def ask(self, source: str, raw: bytes) -> Told:
        """Return the answer to one request."""
        with self.connect(source) as peer:
            peer.sendall(raw)
            return answer(peer)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if haproxy is None:
        missing = "haproxy is not on the path (Debian: haproxy)"
        if os.environ.get("CI"):
            pytest.fail(f"CI must try the proxy's configuration, but {missing}", pytrace=False)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("proxy")
    issued = issue(folder / "tls", "127.0.0.1")
    pem = folder / "node.pem"
    pem.write_bytes(issued.certificate.read_bytes() + issued.key.read_bytes())
    secret = folder / "secret"
    secret.write_text("0123456789abcdef" * 2)
    claim = ("--claim", "click=1", "--policy", "small")
    options = ("--proxy", "127.0.0.1", "--connections-per-address", "1000", "--claim-secret-file", str(secret))
    rates = ("--page-rate-limit", "0.001", "--burst", str(BURST))
    with attacked_site(folder, *options, *rates, pages=[claim]) as site:
        (port,) = free_ports(1)
        environment = os.environ | {
            "PROXY_BIND": f"127.0.0.1:{port}",
            "PROXY_CERTIFICATE": str(pem),
            "NODE": f"127.0.0.1:{site.node.port}",
            "MOST_CONNECTIONS": str(MOST_CONNECTIONS),
        }
        subprocess.run([haproxy, "-c", "-f", CONFIGURATION], env=environment, check=True, capture_output=True)
        with (folder / "proxy.log").open("wb") as log:
            process = subprocess.Popen(
                [haproxy, "-db", "-f", CONFIGURATION], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            made = Proxied(port, issued.authority, site.good, *site.pages)

            def answers() -> bool:
                assert process.poll() is None, (folder / "proxy.log").read_text()
                with contextlib.suppress(OSError):
                    return made.ask("127.0.0.1", decide(made.shop, policy="small")).status == 200
                return False

            wait_until(answers, "the proxy does not answer")
            yield made
        finally:
            process.terminate()
            process.wait(30)


def test_who_asks_over_tls_is_answered_by_the_node(proxied: Proxied) -> None:
    told = proxied.ask("127.0.0.2", decide(proxied.shop, policy="small"))
    assert told.status == 200
    assert told.body["reason"] == "policy"


def test_callers_behind_a_page_s_key_are_told_apart_by_their_own_addresses_whatever_they_say(proxied: Proxied) -> None:
    spoofed = decide(proxied.page, policy="small").replace(b"host:", b"x-forwarded-for: 192.0.2.%d\r\nhost:")
    statuses = [proxied.ask("127.0.0.3", spoofed % number).status for number in range(BURST + 3)]
    assert statuses == [200] * BURST + [429] * 3
    assert proxied.ask("127.0.0.4", decide(proxied.page, policy="small")).status == 200


def test_an_address_has_its_share_of_connections_and_no_more(proxied: Proxied) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(MOST_CONNECTIONS):
            held.enter_context(proxied.connect("127.0.0.5"))
        with pytest.raises(OSError):
            proxied.connect("127.0.0.5")
        assert proxied.ask("127.0.0.6", decide(proxied.shop, policy="small")).status == 200


def test_half_a_handshake_and_half_a_head_are_not_waited_for(proxied: Proxied) -> None:
    with socket.create_connection(("127.0.0.1", proxied.port), source_address=("127.0.0.7", 0)) as silent:
        silent.sendall(b"\x16\x03\x01")
        with proxied.connect("127.0.0.7") as half:
            send(half, decide(proxied.shop)[:40])
            assert is_closed(half)
        assert is_closed(silent)


def test_what_operators_ask_is_not_served_to_everybody(proxied: Proxied) -> None:
    for path in ("/metrics", "/healthz"):
        with proxied.connect("127.0.0.8") as peer:
            peer.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
            assert peer.recv(100).startswith(b"HTTP/1.1 404 ")
