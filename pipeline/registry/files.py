"""A folder of schemas, named by the ids that a registry gave them: 17.avsc, 18-outcome.json."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.codec.framed import AVRO, JSON, PROTOBUF, Writer, writer_of
from pipeline.errors import ConfigError

_NAME = re.compile(r"(\d+)(?:[-_.].*)?\.(avsc|json|proto)")
_KINDS = {"avsc": AVRO, "json": JSON, "proto": PROTOBUF}


def read_folder(folder: Path) -> dict[int, Writer]:
    """Return how the records of each schema id in a folder are written.

    Raises:
        ConfigError: with every fault found in it.
    """
    found: dict[int, Writer] = {}
    faults = []
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None:
            faults.append(f"{path.name} is not named by an id, such as 17.avsc, 17-outcome.avsc or 17.json")
            continue
        schema_id = int(match[1])
        if schema_id in found:
            faults.append(f"{path.name}: schema {schema_id} is there twice")
        try:
            found[schema_id] = writer_of(_KINDS[match[2]], path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{path.name} can't be read: {error}")
        except ConfigError as error:
            faults += [f"{path.name}: {fault}" for fault in error.faults]
    if faults:
        raise ConfigError(f"--registry-schemas {folder}", faults)
    return found
