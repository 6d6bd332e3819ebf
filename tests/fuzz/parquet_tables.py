"""Parquet files from a description, so that what is fuzzed is what a file says, not its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TYPES: tuple[pa.DataType, ...] = (
    pa.string(), pa.float64(), pa.int64(), pa.bool_(), pa.timestamp("us"),
    pa.timestamp("ns", "UTC"), pa.timestamp("s", "Europe/Berlin"), pa.timestamp("ms", "+05:30"),
    pa.date32(), pa.date64(), pa.time64("us"), pa.duration("ns"), pa.null(), pa.uint64(),
    pa.int8(), pa.float16(), pa.float32(), pa.decimal128(38, 6), pa.large_string(),
    pa.string_view(), pa.binary(), pa.binary(3), pa.list_(pa.int64()),
    pa.struct([("number", pa.float64())]), pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.timestamp("us")), pa.map_(pa.string(), pa.int64()),
)  # fmt: skip
COMPRESSIONS = ("NONE", "SNAPPY", "GZIP", "ZSTD", "BROTLI", "LZ4")
ENCODINGS = ("PLAIN", "DELTA_BINARY_PACKED", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY")
VERSIONS = ("1.0", "2.4", "2.6")

Described = dict[str, Any]


class Impossible(ValueError):
    """There is no such file."""


def write_table(described: Described, path: Path) -> None:
    """Write the file of a description; raises Impossible.

    columns: each with name, type (one of TYPES by its number) and values, which are cut to the
    shortest, and perhaps the number of an encoding. All else may be missing as well.
    """
    try:
        table = _build(described)
        is_shared = bool(described.get("shared"))
        pq.write_table(
            table,
            path,
            row_group_size=max(1, int(described.get("row_group_size", 1000)) % 2**20),
            compression=_choose(COMPRESSIONS, described.get("compression", 1)),
            use_dictionary=is_shared,
            column_encoding=None if is_shared else _encodings(described),
            version=_choose(VERSIONS, described.get("version", 2)),
            data_page_size=max(1, int(described.get("page_size", 1024)) % 2**20),
            store_schema=bool(described.get("with_schema", True)),
            use_deprecated_int96_timestamps=bool(described.get("int96")),
        )
    except (
        pa.ArrowException, ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError
    ) as error:  # fmt: skip
        raise Impossible(str(error)) from None


def _build(described: Described) -> pa.Table:
    columns = [
        (str(column["name"]), _column(column["values"], _choose(TYPES, column["type"])))
        for column in described["columns"]
    ]
    num_rows = min((len(array) for _, array in columns), default=0)
    arrays = [array.slice(0, num_rows) for _, array in columns]
    table = pa.Table.from_arrays(arrays, names=[name for name, _ in columns])
    notes = described.get("notes")
    return table if notes is None else table.replace_schema_metadata({"pandas": str(notes)})


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError):
        # As numbers become times, and words become whatever they can be read as.
        return pa.array(values).cast(kind, safe=False)


def _encodings(described: Described) -> dict[str, str]:
    return {
        str(column["name"]): _choose(ENCODINGS, column.get("encoding", 0))
        for column in described["columns"]
    }


def _choose(these: tuple[Any, ...], number: Any) -> Any:
    return these[int(number) % len(these)]
