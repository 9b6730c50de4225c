from __future__ import annotations

import pytest

from pipeline.serve.http.refused import RefusedError
from pipeline.serve.http.web_pages import WebPages

JSON_TYPE = (b"content-type", b"application/json")


def refused(
    headers: list[tuple[bytes, bytes]],
    *,
    method: str = "POST",
    host: str = "127.0.0.1",
    server_names: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
) -> str:
    """Return the word by which a request is refused; empty: it is let through."""
    try:
        WebPages(host, server_names, origins).check({"method": method, "scheme": "http", "headers": headers})
    except RefusedError as error:
        return error.word
    return ""


@pytest.mark.parametrize(
    ("host", "word"),
    [
        (b"localhost:8080", ""),
        (b"LOCALHOST.:8080", ""),
        (b"127.0.0.1:8080", ""),
        (b"127.9.9.9", ""),
        (b"[::1]:8080", ""),
        (b"stranger.example:8080", "foreign-host"),
        (b"localhost.stranger.example", "foreign-host"),
        (b"127.0.0.1.stranger.example", "foreign-host"),
        (b"10.0.0.1", "foreign-host"),
        (b"[::2]", "foreign-host"),
        (b"\xff", "foreign-host"),
    ],
)
def test_on_loopback_only_names_of_this_machine_are_the_nodes_own(host: bytes, word: str) -> None:
    assert refused([(b"host", host)], method="GET") == word


def test_a_name_that_the_node_was_given_is_its_own_too() -> None:
    host = (b"host", b"Node.Internal:80")
    assert refused([host, JSON_TYPE], server_names=("node.internal",)) == ""
    # Beyond loopback names are checked where there are any.
    assert refused([host, JSON_TYPE], host="0.0.0.0") == ""  # noqa: S104  nothing listens
    assert refused([host, JSON_TYPE], host="0.0.0.0", server_names=("x",)) == "foreign-host"  # noqa: S104


@pytest.mark.parametrize(
    ("origin", "word"),
    [
        (b"http://localhost:8080", ""),  # the node's own /docs
        (b"https://shop.example", ""),
        (b"http://localhost:9999", "foreign-origin"),
        (b"https://localhost:8080", "foreign-origin"),
        (b"https://stranger.example", "foreign-origin"),
        (b"null", "foreign-origin"),
    ],
)
def test_a_page_asks_only_where_its_origin_was_allowed(origin: bytes, word: str) -> None:
    headers = [(b"host", b"localhost:8080"), (b"origin", origin), JSON_TYPE]
    assert refused(headers, origins=("https://shop.example",)) == word
    assert refused(headers, origins=("*",)) == ""


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (b"application/json", ""),
        (b"Application/JSON; charset=utf-8", ""),
        (b"text/plain", "not-json"),
        (b"application/x-www-form-urlencoded", "not-json"),
        (b"text/plain; application/json", "not-json"),
        (b"", "not-json"),
    ],
)
def test_what_a_form_could_send_is_refused(kind: bytes, word: str) -> None:
    assert refused([(b"host", b"localhost"), (b"content-type", kind)]) == word
    assert refused([(b"host", b"localhost")]) == "not-json"
