from __future__ import annotations

import time
from typing import Any

import pytest

from pipeline.console import access
from pipeline.console.access import Access
from pipeline.console.settings import ConsoleSettings
from pipeline.errors import ConfigError
from pipeline.serve.http.refused import RefusedError
from pipeline.serve.keys import ApiKey, Right, hash_key

BROKER = "127.0.0.1:1"


def key(name: str, *rights: Right, **fields: Any) -> ApiKey:
    return ApiKey(name, hash_key(f"pk_{name}"), frozenset(rights), **fields)


def console(*keys: ApiKey, **settings: Any) -> Access:
    return Access(ConsoleSettings(BROKER, keys=keys, **settings))


def request(**headers: str) -> dict[str, Any]:
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "scheme": "http", "headers": named}


def test_without_keys_everybody_looks_and_nobody_acts():
    who = console().viewer("")
    assert who is not None
    assert who.sees("homepage")
    assert not who.operates("homepage")
    with pytest.raises(RefusedError, match="forbidden"):
        console().check_act(who, "homepage", "")


def test_with_keys_nobody_looks_who_has_not_come_in():
    asked = console(key("ada", "read"))
    assert asked.viewer("") is None
    assert asked.viewer("guessed") is None
    with pytest.raises(RefusedError, match="unauthorized"):
        asked.come_in("pk_other")


def test_a_key_looks_with_read_and_acts_with_operate_too():
    asked = console(key("ada", "read", "operate"), key("eve", "read"))
    ada, eve = (asked.viewer(asked.come_in(f"pk_{name}")) for name in ("ada", "eve"))
    assert ada is not None
    assert eve is not None
    assert (ada.operates("homepage"), eve.operates("homepage"), eve.sees("homepage")) == (True, False, True)


def test_a_key_that_is_there_to_scrape_nodes_opens_nothing_here():
    """A node's key of Prometheus has `operate` alone: a file that is shared by mistake lets it act on nothing."""
    asked = console(key("prometheus", "operate"), key("ada", "read"))
    with pytest.raises(RefusedError, match="forbidden"):
        asked.come_in("pk_prometheus")


def test_a_key_of_some_policies_sees_those_alone():
    asked = console(key("ada", "read", "operate", policies=frozenset({"homepage"})))
    who = asked.viewer(asked.come_in("pk_ada"))
    assert who is not None
    assert who.operates("homepage")
    assert not who.sees("checkout")
    assert not who.sees(None)


def test_a_session_ends_with_its_key_its_time_and_when_one_goes_out(monkeypatch: pytest.MonkeyPatch):
    asked = console(key("ada", "read"))
    first, second, third = (asked.come_in("pk_ada") for _ in range(3))
    asked.leave(first)
    assert asked.viewer(first) is None
    assert asked.viewer(second) is not None
    asked.renew_keys((key("eve", "read"),))
    assert asked.viewer(second) is None
    asked.renew_keys((key("ada", "read"),))
    later_s = time.monotonic() + access.LASTS_S + 1.0
    monkeypatch.setattr("time.monotonic", lambda: later_s)
    assert asked.viewer(third) is None


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "MAX_SESSIONS", 3)
    asked = console(key("ada", "read"))
    cookies = [asked.come_in("pk_ada") for _ in range(5)]
    assert [asked.viewer(each) is not None for each in cookies] == [False, False, True, True, True]


def test_an_act_needs_the_token_of_its_own_session():
    asked = console(key("ada", "read", "operate"))
    one, other = (asked.viewer(asked.come_in("pk_ada")) for _ in range(2))
    assert one is not None
    assert other is not None
    asked.check_act(one, "homepage", one.token)
    for token in ("", other.token, "é"):
        with pytest.raises(RefusedError, match="foreign-form"):
            asked.check_act(one, "homepage", token)


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"host": "stranger.example:8090"}, "foreign-host"),
        ({"host": "127.0.0.1:8090", "origin": "http://stranger.example"}, "foreign-origin"),
        ({"host": "127.0.0.1:8090", "origin": "http://127.0.0.1:9999"}, "foreign-origin"),
        ({"host": "127.0.0.1:8090", "origin": "null"}, "foreign-origin"),
    ],
)
def test_what_a_page_of_a_stranger_sends_is_refused(headers: dict[str, str], word: str):
    with pytest.raises(RefusedError, match=word):
        console().check_source(request(**headers))


def test_what_its_own_page_sends_is_let_through():
    console().check_source(request(host="localhost:8090", origin="http://localhost:8090"))
    named = console(key("ada", "read"), host="0.0.0.0", server_names=("console.example",))  # noqa: S104
    # Behind a proxy that ends TLS, the console itself speaks HTTP.
    named.check_source(request(host="console.example", origin="https://console.example"))
    with pytest.raises(RefusedError, match="foreign-host"):
        named.check_source(request(host="10.0.0.7:8090"))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"host": "0.0.0.0"}, "there are no keys"),  # noqa: S104
        ({"host": "0.0.0.0", "keys": (key("ada", "read"),)}, "give --server-name"),  # noqa: S104
        ({"keys": (key("ada", "decide"),)}, "nobody could come in"),
        ({"nodes": ("localhost:8080",)}, "is no address such as"),
        ({"port": 70_000}, "is not within 0 to 65535"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings: dict[str, Any], fault: str):
    with pytest.raises(ConfigError, match=fault):
        ConsoleSettings(BROKER, **settings)
