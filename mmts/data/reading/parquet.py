"""Parquet files, a data frame at a time that fits into memory, whatever is in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mmts.data.reading.faults import first_line
from mmts.errors import DataError

CHUNK_BYTES = 1 << 26
"""Bytes of a chunk at most, as the file tells of its rows."""


def parquet_names(path: Path) -> tuple[str, ...]:
    """Return the names of the columns, as they are written; raises DataError."""
    with _open(path) as file:
        return tuple(file.schema_arrow.names)


def iterate_parquet(path: Path, names: Collection[str], num_rows: int) -> Iterator[pd.DataFrame]:
    """Yield some columns of some rows; raises DataError.

    num_rows: of a chunk at most. Of a text that stands in the file once for many rows, those rows
    hold the same object: written out for each, a file of a megabyte could fill any memory.
    """
    import pyarrow as pa

    with _open(path) as plain, _open(path, plain.metadata, _shared_words(plain)) as file:
        size = min(num_rows, _rows_that_fit(plain.metadata, names))
        batches = file.iter_batches(batch_size=size, columns=list(names))
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{path}: cannot be read: {first_line(error)}.") from None
            if batch is None:
                return
            # What pandas once wrote beside the columns may be anything, and is read all the same.
            frame = batch.replace_schema_metadata(None).to_pandas()
            shared = [name for name in names if isinstance(frame[name].dtype, pd.CategoricalDtype)]
            yield frame.astype(dict.fromkeys(shared, object))


def _open(path: Path, metadata: Any = None, shared_words: Collection[str] = ()) -> Any:
    # As heavy as it is, a forecast from CSV files does not need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, metadata=metadata, read_dictionary=list(shared_words))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {first_line(error)}.") from None


def _shared_words(file: Any) -> set[str]:
    """Name the columns of words of which the file holds each word once."""
    return {
        column.path_in_schema
        for column in _columns(file.metadata)
        if column.physical_type == "BYTE_ARRAY"
        and any(encoding.endswith("_DICTIONARY") for encoding in column.encodings)
    }


def _columns(metadata: Any) -> Iterator[Any]:
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        yield from (group.column(place) for place in range(group.num_columns))


def _rows_that_fit(metadata: Any, names: Collection[str]) -> int:
    """Return how many rows a chunk may have, where they are longest."""
    fits = [CHUNK_BYTES]
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = (group.column(place) for place in range(group.num_columns))
        num_bytes = sum(
            column.total_uncompressed_size
            for column in columns
            if column.path_in_schema.partition(".")[0] in names or column.path_in_schema in names
        )
        if num_bytes > 0:
            fits.append(CHUNK_BYTES * group.num_rows // num_bytes)
    return max(1, min(fits))
