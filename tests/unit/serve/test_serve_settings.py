from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.serve.keys import ApiKey
from pipeline.serve.settings import ServeSettings

SALT = "0123456789abcdef"


def test_a_broker_is_enough_and_only_this_machine_is_served() -> None:
    settings = ServeSettings("kafka-1:9092,kafka-2:9092")
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)


def test_the_salt_is_never_shown() -> None:
    assert SALT not in repr(ServeSettings("kafka:9092", SALT))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"broker": "kafka"}, "broker: 'kafka' is not host:port"),
        ({"broker": ""}, "broker: '' is not host:port"),
        ({"subject_salt": "short"}, "subject_salt: 5 bytes, expected 16 to 64 random ones, or none"),
        ({"subject_salt": "ä" * 33}, "subject_salt: 66 bytes"),
        ({"host": ""}, "host: is empty"),
        ({"port": 65_536}, "port: 65536 is not within"),
        ({"port": -1}, "port: -1 is not within"),
        ({"buffer_bytes": 1000}, "buffer_bytes: 1000 is less than 1048576"),
        ({"drain_timeout_s": -1.0}, "drain_timeout_s: -1.0 is not within"),
        ({"host": "192.0.2.1"}, "host: 192.0.2.1 reaches others, and there are no API keys"),
        ({"host": "shop.example"}, "host: shop.example reaches others"),
        ({"metrics_port": 65_536}, "metrics_port: 65536 is not within"),
        ({"rate_per_s": -1.0}, "rate_per_s: -1.0 is below 0"),
        ({"burst": 0}, "burst: 0 is below 1"),
        ({"tls_key": Path(__file__)}, "tls_certificate, tls_key: one is set without the other"),
        ({"tls_key": Path("no"), "tls_certificate": Path("none")}, "tls_certificate: there is no file none"),
        ({"origins": ("shop.example",)}, "origins: 'shop.example' is no origin"),
        ({"origins": ("https://shop.example/page",)}, "origins: 'https://shop.example/page' is no origin"),
        ({"ready_within_s": 0.0}, "ready_within_s: 0.0 is not above 0"),
        ({"recent_bytes": -1}, "recent_bytes: -1 is below 0"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        ServeSettings(**({"broker": "kafka:9092", "subject_salt": SALT} | changes))


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ServeSettings("", "short", host="", port=-1)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["broker", "host", "port", "subject_salt"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_is_served_without_keys(host: str) -> None:
    assert ServeSettings("kafka:9092", host=host).host == host


def test_others_are_served_with_keys_or_where_somebody_says_that_nobody_gets_in() -> None:
    key = ApiKey("shop", "0" * 64, frozenset({"decide"}))
    assert ServeSettings("kafka:9092", host="0.0.0.0", keys=(key,)).keys == (key,)  # noqa: S104
    assert ServeSettings("kafka:9092", host="::", is_open=True).is_open
