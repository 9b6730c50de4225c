"""Requests that two readers could understand in two ways, and bodies that are hardly JSON: one answer each, no more.

What a proxy and a node read differently is how one caller's bytes become another one's request (RFC 9112, 11.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.site import Site, attacked_site
from tests.attack.strangers import WITHIN_S, connected, decide, send, wait_until

pytestmark = pytest.mark.attack

CHUNKED = b"2\r\n{}\r\n0\r\n"
HIDDEN = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
DEEP = b"[" * 60_000 + b"]" * 60_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with attacked_site(tmp_path_factory.mktemp("node")) as made:
        wait_until(lambda: statuses(made, last(decide(made.good, policy="small"))) == [200], "the policy is not live")
        yield made


def exchanged(site: Site, raw: bytes) -> bytes:
    """Return all that comes back until the node closes."""
    received = b""
    with connected(site.node.port) as peer:
        send(peer, raw)
        peer.settimeout(WITHIN_S)
        try:
            while part := peer.recv(65_536):
                received += part
        except ConnectionError:
            pass
    return received


def last(raw: bytes) -> bytes:
    """Return a request after which the node is to close."""
    return raw.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)


def statuses(site: Site, raw: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", exchanged(site, raw))]


def head(site: Site, *lines: bytes, version: bytes = b"HTTP/1.1", path: bytes = b"/v1/policies/small/decide") -> bytes:
    first = b"POST %b %b\r\n" % (path, version)
    return first + b"\r\n".join((b"authorization: Bearer " + site.good.encode(), *lines, b"", b""))


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ((b"host: a", b"content-length: 2", b"content-length: 2"), b"{}"),
        ((b"host: a", b"content-length: 2", b"content-length: 3"), b"{} "),
        ((b"host: a", b"content-length: 2", b"transfer-encoding: chunked"), CHUNKED + b"\r\n" + HIDDEN),
        ((b"host: a", b"transfer-encoding: chunked, identity"), CHUNKED + b"\r\n" + HIDDEN),
        ((b"host: a", b"transfer-encoding: xchunked"), CHUNKED + b"\r\n" + HIDDEN),
        ((b"host: a", b"transfer-encoding : chunked"), CHUNKED + b"\r\n"),
        ((b"host: a", b"transfer-encoding: gzip, chunked"), CHUNKED + b"\r\n"),
        ((b"host: a", b"transfer-encoding: chunked"), b"ffffffffffffffffff\r\n{}"),
        ((b"host: a", b"content-length: -2"), b"{}"),
        ((b"host: a", b"content-length: +2"), b"{}"),
        ((b"host: a", b"content-length: 99999999999999999999999"), b"{}"),
        ((b"host: a", b"x: a\r\n b", b"content-length: 2"), b"{}"),
        ((b"host: a", b"x: a\x00b", b"content-length: 2"), b"{}"),
        ((b"content-length: 2",), b"{}"),
        ((b"host: a", b"host: b", b"content-length: 2"), b"{}"),
        ((b"host: a", b"upgrade: h2c", b"connection: upgrade", b"content-length: 2"), b"{}" + HIDDEN),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    lines: tuple[bytes, ...], body: bytes, site: Site
) -> None:
    assert statuses(site, head(site, *lines) + body + HIDDEN) == [400]


def test_a_body_that_says_it_is_too_long_is_not_waited_for(site: Site) -> None:
    assert statuses(site, head(site, b"host: a", b"content-length: 5000000") + b"{") == [413]


def test_trailers_are_nobody_s_headers(site: Site) -> None:
    # What is behind a body may pass a proxy that has looked at the head alone.
    keyless = b"POST %b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKED
    trailer = b"authorization: Bearer " + site.good.encode() + b"\r\n\r\n"
    for path in (b"/v1/policies/small/decide", b"/v1/policies/small/decide/batch", b"/v1/outcomes"):
        assert statuses(site, last(keyless % path) + trailer) == [401]


def test_an_old_or_absolute_request_is_answered_as_any_other(site: Site) -> None:
    assert statuses(site, head(site, b"content-length: 2", version=b"HTTP/1.0") + b"{}") == [200]
    absolute = head(site, b"host: a", b"content-length: 2", path=b"http://a/v1/policies/small/decide")
    assert statuses(site, last(absolute) + b"{}") == [200]
    assert statuses(site, b"GET /healthz\r\n\r\n") == [400]
    # A reader of HTTP/1.0 takes the first chunk for the next request (RFC 9112, 6.1).
    old = head(site, b"host: a", b"connection: keep-alive", b"transfer-encoding: chunked", version=b"HTTP/1.0")
    assert statuses(site, old + CHUNKED + b"\r\n" + HIDDEN) == [400]


def test_what_asks_for_another_protocol_is_answered_in_this_one_and_ends(site: Site) -> None:
    upgrade = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n"
    for protocol in (b"websocket", b"h2c", b"x"):
        received = exchanged(site, upgrade % protocol + HIDDEN * 3)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert received.count(b"HTTP/1.1 ") == received.lower().count(b"connection: close") == 1
    for first in (b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        assert statuses(site, first) == [400]


@pytest.mark.parametrize("method", [b"OPTIONS", b"HEAD", b"TRACE", b"DELETE", b"PUT", b"PATCH"])
def test_other_methods_than_are_served_are_refused_with_or_without_a_body(method: bytes, site: Site) -> None:
    one = method + b" /v1/policies/small/decide HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    assert statuses(site, one + last(one)) == [405, 405]


@pytest.mark.parametrize(
    "body",
    [
        b'{"context":{"a":' + DEEP + b"}}",
        b'{"context":{"a":' + b"9" * 5_000 + b"}}",
        b'{"context":{"a":1e999}}',
        b'{"context":{"a":NaN}}',
        b'{"context":{"a":"\\ud800"}}',
        b'{"action_id":"\\ud800"}',
        b'{"action_id":""}',
        b'{"eligible":[' + b'"a",' * 20_000 + b'"a"]}',
        b"\xef\xbb\xbf{}",
        b"\x1f\x8b\x08\x00",
        b"[]",
        b"",
    ],
)
def test_bodies_that_are_no_request_are_refused_alone_or_in_a_batch(body: bytes, site: Site) -> None:
    assert statuses(site, last(decide(site.good, body, policy="small"))) == [400]
    batch = decide(site.good, b'{"requests":[{},' + body + b"]}", policy="small").replace(
        b"/decide ", b"/decide/batch "
    )
    assert statuses(site, last(batch)) == [400]


def test_nothing_of_that_was_a_fault_of_the_node_s(site: Site) -> None:
    assert "Traceback" not in Path(site.node.log).read_text("utf-8")
