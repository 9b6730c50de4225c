"""docs/records.md: the schemas, field by field, with an example of what producers send, in JSON and in Avro."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.codec.schemas import current_schema, schemas_folder
from pipeline.events import decision_from, outcome_from
from pipeline.policy.parsing.parse import load_policy
from pipeline.producers.example import example_decision, example_outcome

TOP = Path(__file__).parents[3]
AT_MS = 1_790_000_000_000
HEAD = """# Records

What lies in the topics, field by field; this page is made of the schemas (`schemas/*.avsc`), and a worker's own checks
accept its examples.

**Encoding.** The first byte of a value tells: `C3 01` Avro single-object encoding (the two bytes, the schema's
fingerprint, the body), `{` JSON (decisions and outcomes only), `00` a schema registry's frame
([producers](producers.md)). The fingerprint is CRC-64-AVRO of the schema's parsing canonical form, **8 bytes,
little-endian**: the byte order of the Avro specification.

**Key and partition.** The key of decisions and outcomes is `action_id`, in UTF-8, and the partition murmur2 of it as
Java's producer computes it (librdkafka: `partitioner=murmur2_random`; its own default, CRC-32, is another one, and such
records are sent on by JOIN). **Headers** are not read. The broker's timestamp bounds a record's own times.
"""
TOPICS = {
    "decision": "decisions",
    "outcome": "outcomes",
    "reward": "rewards",
    "statistics": "statistics",
    "snapshot": "snapshots",
    "policy": "policies",
    "dead_letter": "dead-letters",
    "erasure": "decisions, erasures",
    "audit": "audit",
}


def page() -> str:
    """Return the whole page."""
    names = [*TOPICS, *sorted({path.stem for path in schemas_folder().glob("*.avsc")} - TOPICS.keys())]
    return "\n".join([HEAD, *(line for name in names for line in _section(name))])


def examples() -> dict[str, dict[str, Any]]:
    """Return what a producer would send, of the policy of the tutorial."""
    definition = load_policy((TOP / "docs/example/homepage.toml").read_text("utf-8"), "homepage.toml")
    return {"decision": example_decision(definition, AT_MS), "outcome": example_outcome(definition, AT_MS + 5_000)}


def avro_of(name: str, fields: dict[str, Any]) -> bytes:
    """Return an example as Avro."""
    check = decision_from if name == "decision" else outcome_from
    return avro.encode(name, check(fields)._asdict())


def _section(name: str) -> Iterator[str]:
    schema = orjson.loads((schemas_folder() / f"{name}.avsc").read_bytes())
    yield f"## {name.replace('_', ' ').capitalize()}\n"
    where = f" Topic: `{TOPICS[name]}`." if name in TOPICS else ""
    yield f"{schema.get('doc', '')}{where} Schema [`{name}.avsc`](../schemas/{name}.avsc), fingerprint "
    yield f"`{current_schema(name).fingerprint.hex()}`, as it stands in a record.\n"
    yield "| field | type | default | what it says |"
    yield "|---|---|---|---|"
    for field in schema["fields"]:
        default = f"`{orjson.dumps(field['default']).decode()}`" if "default" in field else "required"
        yield f"| `{field['name']}` | {_type(field['type'])} | {default} | {field.get('doc', '')} |"
    yield ""
    if name in examples():
        fields = examples()[name]
        yield f"In JSON:\n\n```json\n{orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode()}\n```\n"
        raw = avro_of(name, fields).hex(" ", 2)
        yield f"The same in Avro, in hex:\n\n```\n{raw}\n```\n"


def _type(kind: Any) -> str:
    match kind:
        case str():
            return kind
        case list():
            return " or ".join(_type(one) for one in kind)
        case {"type": "array", "items": items}:
            return f"array of {_type(items)}"
        case {"type": "map", "values": values}:
            return f"map of {_type(values)}"
        case {"type": "record", "fields": fields}:
            return "{" + ", ".join(f"{field['name']}: {_type(field['type'])}" for field in fields) + "}"
    return str(kind["type"])
