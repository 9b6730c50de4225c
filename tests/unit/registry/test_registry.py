"""Where schemas come from: settings, a folder, and a registry that is away, behind, or asked for nonsense."""

import asyncio
import json
from pathlib import Path

import pytest

from pipeline.codec.framed import JsonWriter, Writer
from pipeline.errors import ConfigError, DecodeError, UnavailableError
from pipeline.registry import lookup
from pipeline.registry.files import read_folder
from pipeline.registry.lookup import Schemas
from pipeline.registry.settings import RegistrySettings

RECORD = json.dumps({"type": "record", "name": "R", "fields": [{"name": "kind", "type": "string"}]})


class Registry:
    """Answers, once it is there."""

    def __init__(self, known: set[int], away: int = 0) -> None:
        self.known = known
        self.away = away
        self.asked: list[int] = []
        self.was_asked = asyncio.Event()

    async def schema(self, schema_id: int) -> Writer | None:
        self.asked.append(schema_id)
        self.was_asked.set()
        if self.away:
            self.away -= 1
            raise UnavailableError("nobody there")
        return JsonWriter() if schema_id in self.known else None

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lookup, "FIRST_PAUSE_S", 0.001)


async def test_an_id_is_asked_for_once():
    registry = Registry({1, 2})
    schemas = Schemas(client=registry)
    assert schemas.get(1) is None
    await schemas.look_up([1, 2, 1])
    await schemas.look_up([1])
    assert isinstance(schemas.get(1), JsonWriter)
    assert sorted(registry.asked) == [1, 2]


async def test_whoever_asks_a_registry_that_is_away_waits_and_others_go_on():
    registry = Registry({1}, away=10**9)
    schemas = Schemas(client=registry)
    asking = asyncio.create_task(schemas.look_up([1]))
    await registry.was_asked.wait()
    assert schemas.get(1) is None  # neither good nor bad
    registry.away = 0
    await asking
    assert isinstance(schemas.get(1), JsonWriter)


async def test_an_id_that_the_registry_lacks_is_refused_and_asked_for_again_later(monkeypatch):
    registry = Registry(set())
    schemas = Schemas(client=registry)
    await schemas.look_up([1])
    writer = schemas.get(1)
    assert writer is not None
    with pytest.raises(DecodeError, match="the registry has no schema 1"):
        writer.read(b"{}", "outcome")
    monkeypatch.setattr(lookup.time, "monotonic", lambda: 1e12)
    assert schemas.get(1) is None
    registry.known.add(1)
    await schemas.look_up([1])
    assert isinstance(schemas.get(1), JsonWriter)


async def test_what_is_kept_of_ids_is_bounded(monkeypatch):
    monkeypatch.setattr(lookup, "MAX_KEPT", 3)
    schemas = Schemas(client=Registry(set()))
    await schemas.look_up(range(10))
    assert sum(schemas.get(schema_id) is not None for schema_id in range(10)) == 3


def test_a_folder_tells_schemas_by_their_ids(tmp_path: Path):
    (tmp_path / "17.avsc").write_text(RECORD)
    (tmp_path / "18-outcome-v2.json").write_text("{}")
    (tmp_path / "19.proto").write_text('syntax = "proto3";')
    schemas = Schemas(RegistrySettings(folder=tmp_path))
    assert sorted(read_folder(tmp_path)) == [17, 18, 19]
    writer = schemas.get(17)
    assert writer is not None
    assert writer.read(b"\x0aclick", "outcome") == {"kind": "click"}


def test_every_fault_of_a_folder_is_named(tmp_path: Path):
    (tmp_path / "outcome.avsc").write_text(RECORD)
    (tmp_path / "17.avsc").write_text("nonsense")
    (tmp_path / "18.avsc").write_text(RECORD)
    (tmp_path / "18-again.avsc").write_text(RECORD)
    with pytest.raises(ConfigError) as caught:
        read_folder(tmp_path)
    assert [fault.split(" ")[0].rstrip(":") for fault in caught.value.faults] == ["17.avsc", "18.avsc", "outcome.avsc"]


@pytest.mark.parametrize(
    ("urls", "environment", "fault"),
    [
        (("registry:8081",), {}, "--registry"),
        (("http://shop:secret@registry:8081",), {}, "no credentials in an address"),
        (("http://r",), {"PIPELINE_REGISTRY_USERNAME": "shop"}, "PASSWORD_FILE"),
        (("http://r",), {"PIPELINE_REGISTRY_PASSWORD": "secret"}, "USERNAME"),
        (("http://r",), {"PIPELINE_REGISTRY_TOKEN_FILE": "/nowhere"}, "there is no file /nowhere"),
        (("http://r",), {"PIPELINE_REGISTRY_PASWORD": "secret"}, "PASWORD: is unknown"),
        (
            ("http://r",),
            {"PIPELINE_REGISTRY_USERNAME": "a", "PIPELINE_REGISTRY_PASSWORD": "b", "PIPELINE_REGISTRY_TOKEN": "c"},
            "one way to authenticate",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_named_without_their_secrets(urls, environment, fault):
    with pytest.raises(ConfigError, match=fault) as caught:
        RegistrySettings.from_environment(urls, None, environment)
    assert "secret" not in str(caught.value)


def test_secrets_are_in_no_text_of_the_settings(tmp_path: Path):
    (tmp_path / "token").write_text("t0ken\n")
    environment = {"PIPELINE_REGISTRY_TOKEN_FILE": str(tmp_path / "token"), "PIPELINE_REGISTRY_SCHEMAS": "ignored"}
    settings = RegistrySettings.from_environment(("https://r",), None, environment)
    assert settings.secret_token() == "t0ken"
    with_password = RegistrySettings(("https://r",), None, "shop", "passw0rd")
    assert "passw0rd" not in repr(with_password)
