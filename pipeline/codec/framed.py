"""Records in a registry's frame: how their writer wrote them, and so what they say. Pure.

    00 | schema id, 4 bytes big-endian | body

The id stands for a schema, and only that tells where a field ends: the same bytes read by another schema are other
fields. So a body is read by its writer's schema and the fields are then taken by their names, as those of a JSON object
are; what a registry's schema calls otherwise may name ours as an alias. Of what producers' generators make:

- a null is a field that is not there
- timestamp-millis, -micros and -nanos become milliseconds; a decimal becomes a number, an enum or uuid its text
- a nested record is a map; more fields than ours are passed over
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import fastavro.schema
import orjson
from fastavro._read_py import schemaless_reader as slow_reader

from pipeline.codec import avro
from pipeline.codec.nesting import check_nesting, read_json
from pipeline.codec.schemas import current_schema
from pipeline.errors import ConfigError, DecodeError

HEADER_BYTES = 5
AVRO, JSON, PROTOBUF = "AVRO", "JSON", "PROTOBUF"
_BRACE = b"{"
# Those that fastavro would make objects of; of decimals it may.
_LOGICAL_TYPES = ("timestamp-", "local-timestamp-", "time-", "date", "duration", "uuid")
_PER_MS = {"millis": 1, "micros": 1_000, "nanos": 1_000_000}


class Writer(Protocol):
    """Knows how the records of one schema id were written."""

    def read(self, body: bytes, expected: str) -> dict[str, Any]:
        """Return the fields of a record that is to be a `decision` or an `outcome`; raises DecodeError."""


class Registry(Protocol):
    """What is known of schema ids at present."""

    def get(self, schema_id: int, /) -> Writer | None:
        """Return how an id's records were written; None: nobody has asked yet."""


class UnresolvedSchemaError(DecodeError):
    """A record whose schema id nobody has looked up yet: it is neither good nor bad."""

    def __init__(self, schema_id: int) -> None:
        self.schema_id = schema_id
        super().__init__("unknown-fingerprint", f"schema id {schema_id} was not looked up")


def read_framed(raw: bytes, expected: str, registry: Registry) -> dict[str, Any]:
    """Return the fields of a framed record.

    Raises:
        UnresolvedSchemaError: ask the registry for its id, and read again. DecodeError: it is no such record.
    """
    if len(raw) < HEADER_BYTES:
        raise DecodeError("not-decodable", f"{len(raw)} bytes, a registry's frame alone has {HEADER_BYTES}")
    schema_id = int.from_bytes(raw[1:HEADER_BYTES], "big")
    writer = registry.get(schema_id)
    if writer is None:
        raise UnresolvedSchemaError(schema_id)
    return writer.read(raw[HEADER_BYTES:], expected)


def schema_ids(values: Iterable[bytes | None]) -> set[int]:
    """Return the schema ids that some records are framed by."""
    return {int.from_bytes(v[1:HEADER_BYTES], "big") for v in values if v and v[0] == 0 and len(v) >= HEADER_BYTES}


class JsonWriter:
    """Writes one JSON object: what a JSON-Schema serializer makes."""

    def read(self, body: bytes, expected: str) -> dict[str, Any]:
        """Return the object; its schema says nothing that the checks of its fields don't."""
        fields = read_json(body)
        if not isinstance(fields, dict):
            raise DecodeError("not-decodable", f"JSON {type(fields).__name__}, expected an object of a {expected}")
        return {name: _plain(value) for name, value in fields.items() if value is not None}


class RefusedWriter(NamedTuple):
    """A schema whose records can't be read."""

    reason: str
    detail: str

    def read(self, body: bytes, expected: str) -> dict[str, Any]:
        """Raise DecodeError."""
        raise DecodeError(self.reason, f"{self.detail} ({expected}, {len(body)} bytes)")


class OwnWriter:
    """Writes by `schemas/*.avsc` as it stands now: what ledgers of before and their replays took a frame for."""

    def read(self, body: bytes, expected: str) -> dict[str, Any]:
        """Read by the current schema."""
        return avro.decode_body(body, 0, current_schema(expected))


class AvroWriter:
    """Writes Avro by a schema of the producer's own."""

    def __init__(self, text: str, references: Sequence[str] = ()) -> None:
        """Parse a schema, behind those that it refers to.

        Raises:
            ConfigError: not Avro.
        """
        named: dict[str, Any] = {}
        try:
            referred = [orjson.loads(reference) for reference in references]
            for each in referred:
                fastavro.schema.parse_schema(_plainly(each), named_schemas=named)
            plain = orjson.loads(text)
            self._parsed = fastavro.schema.parse_schema(_plainly(plain), named_schemas=named)
        except Exception as error:  # fastavro raises what its parser trips over
            raise ConfigError("registry schema", [f"not an Avro schema: {error!r}"]) from error
        if _has_endless_array([*referred, plain], set()):
            raise ConfigError("registry schema", ["an array of what takes no bytes: a record says at will how many"])
        # A schema that contains itself is as deep as the record says: the compiled reader takes the process along.
        self._read = slow_reader if _contains_itself([*referred, plain]) else fastavro.schemaless_reader
        self._fields = [field for record in _records_of(plain) for field in record.get("fields", ())]

    def read(self, body: bytes, expected: str) -> dict[str, Any]:
        """Return the fields by the names that ours have."""
        buffer = io.BytesIO(body)
        try:
            record = self._read(buffer, self._parsed, None)
        except Exception as error:  # fastavro raises what its decoder trips over: EOFError, ValueError, …
            raise DecodeError("not-decodable", f"not a record of the schema that it names: {error!r}") from error
        if buffer.tell() != len(body):
            raise DecodeError("not-decodable", f"{len(body) - buffer.tell()} bytes follow the record")
        if not isinstance(record, dict):
            raise DecodeError("not-decodable", f"its schema is of a {type(record).__name__}, expected a {expected}")
        check_nesting(record)
        return self._named(record, expected)

    def _named(self, record: Mapping[str, Any], expected: str) -> dict[str, Any]:
        kinds = _kinds(expected)
        fields: dict[str, Any] = {}
        for field in self._fields:
            value = record.get(field["name"])
            if value is None:
                continue
            name = next((each for each in (field["name"], *field.get("aliases", ())) if each in kinds), field["name"])
            if name == field["name"] or name not in record:
                fields[name] = _value(value, field["type"], kinds.get(name))
        return fields


def writer_of(kind: str, text: str, references: Sequence[str] = ()) -> Writer:
    """Return how records of a registry's schema are written.

    Raises:
        ConfigError: an Avro schema that is none.
    """
    if kind == AVRO:
        return AvroWriter(text, references)
    if kind == JSON:
        return JsonWriter()
    what = "Protobuf is not read" if kind == PROTOBUF else f"schemas of type {kind!r} are not read"
    return RefusedWriter("unsupported-schema", f"{what}: send Avro, JSON, or either in a registry's frame")


class Undeclared:
    """Nobody was asked: JSON says what it is, and of anything else an id alone tells nothing."""

    def get(self, schema_id: int, /) -> Writer | None:
        """Return a writer of JSON alone."""
        return _UndeclaredWriter(schema_id)


class _UndeclaredWriter(NamedTuple):
    schema_id: int

    def read(self, body: bytes, expected: str) -> dict[str, Any]:
        if body[:1] == _BRACE:
            return JsonWriter().read(body, expected)
        raise DecodeError(
            "unknown-fingerprint",
            f"in a registry's frame, by schema {self.schema_id}, which nobody has told: start with "
            f"--registry URL, or put the schema into {self.schema_id}.avsc and start with --registry-schemas DIR",
        )


UNDECLARED = Undeclared()


class Declared(NamedTuple):
    """What plans of before say: ids of `schemas/*.avsc`, taken to be of the schema that the reader has."""

    ids: Mapping[int, str]
    beside: Registry = UNDECLARED
    """Asked for other ids."""

    def get(self, schema_id: int, /) -> Writer | None:
        """Return how an id's records were taken to be written."""
        return OwnWriter() if schema_id in self.ids else self.beside.get(schema_id)


def _kinds(expected: str) -> Mapping[str, Any]:
    parsed: Any = current_schema(expected).parsed
    return {field["name"]: field["type"] for field in parsed["fields"]}


def _value(value: Any, written_as: Any, ours: Any) -> Any:
    """Return a field's value as the checks of its record expect it."""
    if ours == "long" and isinstance(value, int):
        return value // _per_ms(written_as)
    if isinstance(value, bytes):
        # Bytes are promoted to a string where ours is one; a context vector is bytes in both.
        return value if ours == "bytes" else _text(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DecodeError("not-decodable", f"bytes {value[:16].hex()} where a text belongs: {error.reason}") from error


def _per_ms(written_as: Any) -> int:
    """Return how many of a timestamp's units make a millisecond."""
    for each in written_as if isinstance(written_as, list) else (written_as,):
        if isinstance(each, Mapping):
            logical = str(each.get("logicalType", ""))
            if "timestamp-" in logical:
                return _PER_MS.get(logical.rpartition("-")[2], 1)
            if isinstance(each.get("type"), Mapping):
                return _per_ms(each["type"])
    return 1


def _records_of(schema: Any) -> Sequence[Mapping[str, Any]]:
    """Return the records that a schema is, or is one of."""
    branches = schema if isinstance(schema, list) else [schema]
    return [branch for branch in branches if isinstance(branch, Mapping) and branch.get("type") == "record"]


def _contains_itself(schema: Any, around: frozenset[str] = frozenset()) -> bool:
    """Whether a name is used inside what it names, so that records of it are as deep as they say."""
    if isinstance(schema, str):
        return schema.rpartition(".")[2] in around
    if isinstance(schema, list):
        return any(_contains_itself(branch, around) for branch in schema)
    if not isinstance(schema, Mapping):
        return False
    if isinstance(name := schema.get("name"), str) and "fields" in schema:
        around |= {name.rpartition(".")[2]}
    return _contains_itself(_inner(schema), around)


def _inner(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas that stand in one."""
    fields = [field.get("type") for field in schema.get("fields", ())]
    return [*fields, *(schema[key] for key in ("type", "items", "values") if key in schema)]


def _has_endless_array(schema: Any, empty: set[str]) -> bool:
    """Whether there is an array of what takes no bytes: a few of them say how many there are, and there is no end.

    Args:
        schema: each name stands in it, or in one before it, as what it names before it is used.
        empty: names of what takes no bytes, as far as they are known; those of this schema are added.
    """
    if isinstance(schema, list):
        return sum(_has_endless_array(branch, empty) for branch in schema) > 0  # each adds its names
    if not isinstance(schema, Mapping):
        return False
    is_endless = _has_endless_array(_inner(schema), empty)
    if isinstance(name := schema.get("name"), str) and _takes_nothing(schema, empty):
        empty.add(name.rpartition(".")[2])
    return is_endless or (schema.get("type") == "array" and _takes_nothing(schema.get("items"), empty))


def _takes_nothing(schema: Any, empty: set[str]) -> bool:
    if isinstance(schema, str):
        return schema == "null" or schema.rpartition(".")[2] in empty
    if not isinstance(schema, Mapping):
        return False  # one byte says which of a union it is
    if schema.get("type") == "record":
        return all(_takes_nothing(field.get("type"), empty) for field in schema.get("fields", ()))
    return schema.get("size") == 0 or _takes_nothing(schema.get("type"), empty)


def _plainly(schema: Any) -> Any:
    """Return a schema whose times and uuids are the numbers and texts that they are written as."""
    if isinstance(schema, list):
        return [_plainly(branch) for branch in schema]
    if not isinstance(schema, Mapping):
        return schema
    is_object = str(schema.get("logicalType", "")).startswith(_LOGICAL_TYPES)
    walked = ("type", "items", "values", "fields")
    return {
        name: _plainly(entry) if name in walked else entry
        for name, entry in schema.items()
        if not (is_object and name == "logicalType")
    }
