from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ConfigError
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
        ({"subject_salt": "short"}, "subject_salt: 5 bytes, expected none, or 16 to 64"),
        ({"subject_salt": "ä" * 33}, "subject_salt: 66 bytes"),
        ({"host": ""}, "host: is empty"),
        ({"port": 65_536}, "port: 65536 is not within"),
        ({"port": -1}, "port: -1 is not within"),
        ({"buffer_bytes": 1000}, "buffer_bytes: 1000 is less than 1048576"),
        ({"drain_timeout_s": -1.0}, "drain_timeout_s: -1.0 is not within"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        ServeSettings(**({"broker": "kafka:9092", "subject_salt": SALT} | changes))


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ServeSettings("", "short", host="", port=-1)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["broker", "subject_salt", "host", "port"]
