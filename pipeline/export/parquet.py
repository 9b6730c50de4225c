"""Rows → a Parquet file, by Arrow; what each column says stands in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.columns import Column, Kind
from pipeline.export.ledger import Row

_TIME = pa.timestamp("ms", tz="UTC")
_CREDIT = {"outcome_id": pa.string(), "kind": pa.string(), "value": pa.float64(), "occurred_at": _TIME}
_TYPES: Mapping[Kind, Any] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": _TIME,
    "strings": pa.list_(pa.string()),
    "doubles": pa.list_(pa.float64()),
    "outcomes": pa.list_(pa.struct(list(_CREDIT.items()))),
}


def write(path: Path, columns: Sequence[Column], rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """Write a file that is not there yet; return the SHA-256 of its bytes.

    Args:
        path: of a folder that is there.
        columns: in the order of the rows' values.
        rows: at least one.
        about: stands in the file's footer.
    """
    fields = [pa.field(one.name, _TYPES[one.kind], metadata={"description": one.text}) for one in columns]
    schema = pa.schema(fields, metadata=dict(about))
    arrays = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), fields, strict=True)]
    with path.open("xb") as file:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file, compression="zstd")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
