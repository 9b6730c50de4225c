"""Strangers at a node that was started as a user starts one: nothing they send, hold or leave unread costs others."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.attack.strangers import (
    answer,
    connect,
    connected,
    decide,
    is_closed,
    resident_bytes,
    send,
    wait_until,
)
from tests.harness.node import Node

pytestmark = pytest.mark.attack

# Times are short, so that the tests are; places few, so that strangers fill them with few sockets.
OPTIONS = (
    *("--head-within", "1", "--body-within", "1", "--write-within", "1"),
    *("--connections", "60", "--connections-per-address", "50"),
)
MIB = 1 << 20


class Site(NamedTuple):
    node: Node
    key: str

    @property
    def port(self) -> int:
        return self.node.port

    def refused(self, word: str) -> float:
        """Return how often the node says that it has refused something for this reason."""
        text = httpx.get(f"{self.node.url}/metrics", headers={"authorization": f"Bearer {self.key}"}).text
        line = f'pipeline_connections_refused_total{{reason="{word}"}} '
        return next((float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line)), 0.0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("node")
    made = subprocess.run(
        [sys.executable, "-m", "pipeline", "api-key", "--name", "shop"]
        + [word for right in ("decide", "outcomes", "operate") for word in ("--right", right)],
        capture_output=True,
        text=True,
        check=True,
    )
    keys = folder / "keys.toml"
    keys.write_text(made.stdout, "utf-8")
    # No broker is there: a node answers without one, and that it has nothing to show is an answer.
    with Node("127.0.0.1:1", folder, "--api-keys", str(keys), *OPTIONS) as node:
        yield Site(node, made.stderr.split()[-1])


def ask(site: Site) -> int:
    with connected(site.port) as peer:
        peer.sendall(decide(site.key))
        return answer(peer).status


def test_a_head_beyond_its_bound_is_refused_by_a_document_however_it_comes(site: Site) -> None:
    line = b"POST /v1/outcomes HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    for head, status, word in (
        (line + b"x: " + b"y" * MIB, 431, "head-too-large"),
        (line + b"x: y\r\n" * 3_000 + b"\r\n", 431, "head-too-large"),
        (line + b"x: y\r\n" * 101 + b"\r\n", 431, "head-too-large"),
        (b"GET /" + b"a" * MIB, 414, "url-too-long"),
        (b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 414, "url-too-long"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, "not-http"),
    ):
        before = site.refused(word)
        with connected(site.port) as peer:
            send(peer, head)
            told = answer(peer)
            assert (told.status, told.body["error"], told.headers["connection"]) == (status, word, "close")
            assert set(told.body) == {"error", "detail"}
            assert is_closed(peer)
        assert site.refused(word) == before + 1


def test_heads_without_end_take_no_memory(site: Site) -> None:
    ask(site)
    before = resident_bytes(site.node.pid)
    for _ in range(4):
        with connected(site.port) as peer:
            send(peer, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(500_000)))
            assert is_closed(peer)
    # 25 MB were sent; what may be held of them is a head of 16 KiB each.
    assert resident_bytes(site.node.pid) - before < 8 * MIB


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"POST /v1/outcomes HTTP/1.1\r\nhost:",
        b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\n\r\nabc",
    ],
)
def test_what_is_sent_by_halves_is_closed_in_time(half: bytes, site: Site) -> None:
    with connected(site.port) as peer:
        peer.sendall(half)
        if b"\r\n\r\n" in half:  # it is answered without its body, which nobody waits for
            assert answer(peer).status == 200
        else:
            told = answer(peer)
            assert (told.status, told.body["error"]) == (408, "request-too-slow")
        assert is_closed(peer)


def test_the_half_of_a_body_of_who_has_a_key_is_refused_in_time_too(site: Site) -> None:
    with connected(site.port) as peer:
        peer.sendall(decide(site.key, b"{}   ")[:-3])
        told = answer(peer)
        assert (told.status, told.body["error"]) == (408, "request-too-slow")
        assert is_closed(peer)


def test_one_byte_at_a_time_is_too_slow_however_regular(site: Site) -> None:
    with connected(site.port) as peer:
        for byte in decide(site.key):
            try:
                peer.sendall(bytes([byte]))
            except ConnectionError:
                break
            peer.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                told = answer(peer)
                assert told.status == 408
                return
        raise AssertionError("a head of one byte each 50 ms was waited for")


def test_bodies_without_end_are_cut_off_at_their_bound(site: Site) -> None:
    head = decide(site.key).partition(b"\r\n\r\n")[0].replace(b"content-length: 2", b"transfer-encoding: chunked")
    for part in (
        b"10000\r\n" + b" " * 0x10000 + b"\r\n",  # long chunks
        b"1\r\n \r\n" * 10_000,  # short ones
        b"1;" + b"x" * 0xFFFF + b"\r\n \r\n",  # more framing than body
    ):
        with connected(site.port) as peer:
            send(peer, head + b"\r\n\r\n" + part * 60)
            told = answer(peer)
            assert (told.status, told.body["error"]) == (413, "body-too-large")
            assert is_closed(peer)
    with connected(site.port) as peer:
        send(peer, head + b"\r\n\r\n0\r\n" + b"x: y\r\n" * 1_000_000)  # trailers
        assert is_closed(peer)
    assert ask(site) == 409


def test_requests_sent_far_ahead_are_answered_up_to_a_bound_and_then_refused(site: Site) -> None:
    with connected(site.port) as peer:
        send(peer, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 5_000)
        raw = b""
        with contextlib.suppress(ConnectionError):
            while part := peer.recv(65_536):
                raw += part
    # One is being answered, 32 wait, and the next is refused.
    assert raw.count(b"HTTP/1.1 200 ") == 33
    assert raw.count(b"HTTP/1.1 429 ") == raw.count(b"too-many-ahead") == 1


def test_whoever_has_a_key_is_answered_while_strangers_hold_every_place(site: Site) -> None:
    before = site.refused("no-place")
    with contextlib.ExitStack() as held:
        for number in range(200):
            peer = held.enter_context(connect(site.port))
            send(peer, b"GET /healthz HTTP/1.1\r\nhost:")
            if number % 10 == 0:
                assert ask(site) == 409
        # The oldest of the strangers made room; what they are told is why.
        assert site.refused("no-place") - before > 100


def test_a_connection_that_has_shown_a_key_outlives_any_number_of_strangers(site: Site) -> None:
    with contextlib.ExitStack() as held, connected(site.port) as mine:
        mine.sendall(decide(site.key))
        assert answer(mine).status == 409
        for _ in range(200):
            held.enter_context(connect(site.port))
        mine.sendall(decide(site.key))
        assert answer(mine).status == 409


def test_readers_that_do_not_read_are_cut_off(site: Site) -> None:
    before = site.refused("reader-too-slow")
    with contextlib.ExitStack() as held:
        peers = [held.enter_context(connect(site.port)) for _ in range(10)]

        def is_cut_off() -> bool:
            for peer in peers:
                peer.settimeout(0)
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    peer.send(b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 20)
            return site.refused("reader-too-slow") >= before + len(peers)

        wait_until(is_cut_off, "slow readers were not cut off")
        assert ask(site) == 409


def test_what_strangers_do_is_told_in_few_lines(site: Site) -> None:
    """After all of the above, and some thousands of faults more."""
    for _ in range(300):
        with connected(site.port) as peer:
            send(peer, b"\x00\r\n\r\n")
    wait_until(lambda: "refused " in Path(site.node.log).read_text(), "nothing was logged")
    words = Path(site.node.log).read_text("utf-8")
    assert words.count("refused ") < 20
    assert len(words.splitlines()) < 100
