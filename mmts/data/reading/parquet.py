"""Parquet files, a data frame at a time, each of a bounded size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mmts.errors import DataError, first_line

CHUNK_BYTES = 1 << 26
"""Bytes of a chunk at most, where not a single row is longer."""


class _Column(NamedTuple):
    """One of the columns that are read; place: among those of the file."""

    name: str
    place: int


class _NoCellError(Exception):
    """What a file holds, and Python does not have."""


def parquet_names(path: Path) -> tuple[str, ...]:
    """Return the names of the columns, as they are written; raises DataError."""
    with _open(path) as file:
        return tuple(file.schema_arrow.names)


def iterate_parquet(path: Path, names: Collection[str], num_rows: int) -> Iterator[pd.DataFrame]:
    """Yield some columns of some rows; raises DataError.

    num_rows: of a chunk at most. Of long words that stand in the file once for many rows, those
    rows hold the same object: written out for each, a file of a megabyte could fill any memory.
    """
    import pyarrow as pa

    with _open(path) as plain:
        metadata, columns = plain.metadata, _find(plain, path, names)
        shared = [column.name for column in columns if _is_shared(metadata, column)]
        with _open(path, metadata, shared) as file:
            for group in range(metadata.num_row_groups):
                size = min(num_rows, _rows_that_fit(metadata.row_group(group), columns))
                batches = file.iter_batches(size, [group], [column.name for column in columns])
                while True:
                    try:
                        batch = next(batches, None)
                        if batch is None:
                            break
                        batch.validate(full=True)
                        frame = _to_pandas(batch)
                    except (pa.ArrowException, OSError, _NoCellError) as error:
                        said = first_line(error)
                        raise DataError(f"{path}: cannot be read: {said}.") from None
                    if len(frame):
                        yield frame


def _open(path: Path, metadata: Any = None, shared: Sequence[str] = ()) -> Any:
    # As heavy as it is, a forecast from CSV files does not need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, metadata=metadata, read_dictionary=list(shared))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {first_line(error)}.") from None


def _find(file: Any, path: Path, names: Collection[str]) -> list[_Column]:
    """Return the columns of these names; raises DataError for what no cell can hold."""
    from pyarrow import types

    for name in names:
        kind = file.schema_arrow.field(name).type
        is_bytes = types.is_binary(kind) or types.is_large_binary(kind)
        if types.is_nested(kind) or is_bytes or types.is_fixed_size_binary(kind):
            raise DataError(
                f"{path}: column {name!r} holds {kind}, not numbers, words or times. Save one "
                "value to a cell, and words as text."
            )
    places = {file.schema.column(place).path: place for place in range(len(file.schema))}
    return [_Column(name, places[name]) for name in names]


def _is_shared(metadata: Any, column: _Column) -> bool:
    """Tell whether the file may hold words of a column once for many rows."""
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(column.place)
        if chunk.physical_type != "BYTE_ARRAY":
            return False
        if any(encoding.endswith("_DICTIONARY") for encoding in chunk.encodings):
            return True
    return False


def _rows_that_fit(group: Any, columns: Sequence[_Column]) -> int:
    """Return how many rows a chunk may have, as the file tells of their length."""
    num_bytes: int = sum(group.column(column.place).total_uncompressed_size for column in columns)
    num_rows: int = group.num_rows
    return max(1, CHUNK_BYTES * num_rows // max(1, num_bytes))


def _to_pandas(batch: Any) -> pd.DataFrame:
    """Return a data frame, in which long words that are shared stay so; raises _NoCellError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, pd.Series] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        is_shared = isinstance(column, pa.DictionaryArray) and (
            pa.types.is_string(column.dictionary.type)
            or pa.types.is_large_string(column.dictionary.type)
        )
        if is_shared:
            lengths = pc.binary_length(column.dictionary).take(column.indices)
            is_shared = (pc.sum(lengths).as_py() or 0) > CHUNK_BYTES
            column = column if is_shared else column.dictionary_decode()
        # What pandas once wrote beside the columns may be anything, and is read all the same.
        try:
            cells = pa.record_batch([column], names=[name]).to_pandas()[name]
        except (ValueError, OverflowError) as error:
            # Of Python, for dates of a year that it does not know.
            raise _NoCellError(f"column {name!r}: {first_line(error)}") from None
        columns[name] = cells.astype(object) if is_shared else cells
    return pd.DataFrame(columns)
