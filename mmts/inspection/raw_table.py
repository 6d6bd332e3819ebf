"""Reading a file of which nothing is known: encoding, delimiter, and cells as they are written.

The rows come from the package's own reader, so that what it takes is taken here, and what it
refuses is refused in the same words.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.config import ReadingConfig
from mmts.data.reading.blocks import Block, iterate_blocks
from mmts.data.reading.dialect import Header, read_header, require_unique_names
from mmts.data.reading.opening import open_text
from mmts.data.reading.parquet import iterate_parquet
from mmts.data.reading.sources import is_parquet
from mmts.errors import DataError, first_line, nearest
from mmts.inspection.numbers import is_plain_number

MOST_BYTES = 200_000_000
"""Unpacked size above which only the first rows of a file are looked at."""

MOST_ROWS = 1_000_000
"""How many rows of a greater file are looked at."""

_PARQUET_ROWS = 1 << 14
_LONGEST_CELL = 1000
"""Characters of a cell of Parquet that are looked at: a book may stand there once for all rows."""

_SAMPLE_BYTES = 1 << 20
_SAMPLE_ROWS = 50
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class RawTable:
    """One file, its cells as they are written, without the blanks around them; empty ones are NA.

    row_numbers: (row,) of each row, as an editor counts. encoding, delimiter: None where a reader
    finds them by itself. is_partial: whether the file goes on behind these rows.
    unread: columns of Parquet that no cell can hold, and what they hold.
    """

    path: Path
    cells: pd.DataFrame
    row_numbers: npt.NDArray[np.int64]
    encoding: str | None = None
    delimiter: str | None = None
    is_partial: bool = False
    unread: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Piece:
    """Some rows: cells that are not stripped yet, their numbers, and how many bytes they fill."""

    cells: pd.DataFrame
    row_numbers: npt.NDArray[np.int64]
    num_bytes: int


def read_raw_table(path: Path) -> RawTable:
    """Read a CSV or Parquet file.

    Raises DataError when there is no such file, when it is no table with a header and rows, and
    when two columns share a name.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder. Name the files in it.")
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file{nearest(path.name, siblings)}")
    table = _read_parquet(path) if is_parquet(path) else _read_csv(path)
    names = list(table.cells.columns)
    if table.cells.empty:
        raise DataError(f"{path}: no row below the header. Give a file that holds data.")
    if len(names) < 2:
        raise DataError(f"{path}: a single column, {names[0]!r}. A table has a time and values.")
    return table


def _gather(
    pieces: Iterator[_Piece], names: list[str]
) -> tuple[pd.DataFrame, npt.NDArray[np.int64], bool]:
    """Return cells and numbers of as many rows as are looked at, and whether more follow."""
    kept: list[_Piece] = []
    num_bytes, is_partial = 0, False
    for piece in pieces:
        if num_bytes > MOST_BYTES:
            is_partial = True
            break
        kept.append(piece)
        num_bytes += piece.num_bytes
    if not kept:
        return pd.DataFrame(columns=names), np.zeros(0, dtype=np.int64), False
    cells = pd.concat([piece.cells for piece in kept], ignore_index=True)
    numbers = np.concatenate([piece.row_numbers for piece in kept])
    if num_bytes > MOST_BYTES and len(cells) > MOST_ROWS:
        cells, numbers, is_partial = cells.iloc[:MOST_ROWS], numbers[:MOST_ROWS], True
    cells.columns = pd.Index(names, dtype=object)
    return cells, numbers, is_partial


def _stripped(cells: pd.Series) -> pd.Series:
    text = cells.astype("string").str.strip()
    return text.mask(text == "")


# Parquet


def _read_parquet(path: Path) -> RawTable:
    names, unread = _readable(path)
    clean = [name.strip() for name in names]
    require_unique_names([*clean, *unread], str(path))
    cells, numbers, is_partial = _gather(_pieces_of_parquet(path, names), clean)
    return RawTable(path, cells, numbers, is_partial=is_partial, unread=unread)


def _readable(path: Path) -> tuple[list[str], dict[str, str]]:
    """Return the columns that hold one value to a cell, and of the others what they hold."""
    from pyarrow import ArrowException, parquet, types

    try:
        schema = parquet.read_schema(path)
    except (OSError, ArrowException) as error:
        raise DataError(f"{path}: not a Parquet file: {first_line(error)}.") from None
    names: list[str] = []
    unread: dict[str, str] = {}
    for column in schema:
        kind = column.type
        is_bytes = types.is_binary(kind) or types.is_large_binary(kind)
        if types.is_nested(kind) or is_bytes or types.is_fixed_size_binary(kind):
            unread[column.name] = str(kind)
        else:
            names.append(column.name)
    return names, unread


def _pieces_of_parquet(path: Path, names: list[str]) -> Iterator[_Piece]:
    first = 1
    for frame in iterate_parquet(path, names, _PARQUET_ROWS):
        columns = {place: _stripped(_as_written(frame[name])) for place, name in enumerate(names)}
        num_bytes = sum(int(column.str.len().sum()) for column in columns.values())
        numbers = np.arange(first, first + len(frame))
        yield _Piece(pd.DataFrame(columns), numbers, num_bytes + frame.size)
        first += len(frame)


def _as_written(cells: pd.Series) -> pd.Series:
    """Return cells of Parquet as a CSV file would hold them."""
    if pd.api.types.is_float_dtype(cells.dtype):
        known = cells.dropna()
        # Whole numbers with a gap are floats to pandas.
        if len(known) and bool(((known % 1 == 0) & (known.abs() < 1e15)).all()):
            return cells.astype("Int64")
    if cells.dtype == object:
        return cells.map(lambda cell: str(cell)[:_LONGEST_CELL], na_action="ignore")
    if isinstance(cells.dtype, pd.StringDtype):
        return cells.str.slice(0, _LONGEST_CELL)
    return cells


# CSV


def _read_csv(path: Path) -> RawTable:
    encoding = _find_encoding(path)
    with open_text(path, encoding) as stream:
        header = read_header(stream, str(path), ReadingConfig(encoding=encoding))
        more = stream.read(_SAMPLE_BYTES - len(header.rest))
        header = replace(header, rest=header.rest + more)
        delimiter = _find_delimiter(path, _sample_of(header))
        if delimiter == header.delimiter:
            return _read_rows(path, stream, header, encoding)
    reading = ReadingConfig(encoding=encoding, delimiter=delimiter)
    with open_text(path, encoding) as stream:
        return _read_rows(path, stream, read_header(stream, str(path), reading), encoding)


def _sample_of(header: Header) -> str:
    text = header.line + b"\n" + header.rest
    lines = text.decode(errors="ignore").splitlines(keepends=True)
    # The last of them may be cut off.
    return "".join(lines[:-1] if len(lines) > 1 else lines)


def _read_rows(path: Path, stream: BinaryIO, header: Header, encoding: str | None) -> RawTable:
    names = list(header.names)
    if all(is_plain_number(name) for name in names if name):
        raise DataError(
            f"{path}: the first row holds numbers, not the names of columns. Write a header."
        )
    blocks = iterate_blocks(stream, str(path), header)
    cells, numbers, is_partial = _gather((_parse(block, header) for block in blocks), names)
    delimiter = None if header.delimiter == "," else header.delimiter
    return RawTable(path, cells, numbers, encoding, delimiter, is_partial)


def _parse(block: Block, header: Header) -> _Piece:
    try:
        frame = pd.read_csv(
            io.BytesIO(block.data),
            sep=header.delimiter,
            encoding="utf-8",
            dtype=str,
            header=None,
            index_col=False,
            names=range(block.width),
            # Rows that all end in a delimiter have a cell more, which is empty.
            usecols=range(len(header.names)),
            keep_default_na=False,
            na_values=[""],
            skip_blank_lines=False,
        )
    except pd.errors.ParserError as error:
        said = first_line(error)
        raise DataError(f"{block.rows.where}: not a well-formed CSV table: {said}.") from None
    if len(frame) != block.num_rows:
        raise DataError(
            f"{block.rows.where}, row {block.rows.number(0)} and after: the rows cannot be told "
            "apart. Write quotation marks inside of cells twice."
        )
    cells = pd.DataFrame({name: _stripped(frame[name]) for name in frame.columns})
    numbers = block.rows.numbers
    if numbers is None:
        numbers = np.arange(block.rows.first, block.rows.first + block.num_rows)
    return _Piece(cells, numbers, len(block.data))


def _find_encoding(path: Path) -> str | None:
    """Return the encoding that a config has to name; None for UTF-8 and what a mark tells."""
    for encoding in (None, "cp1252"):
        if _decodes(path, encoding):
            return encoding
    return "latin-1"


def _decodes(path: Path, encoding: str | None) -> bool:
    # Bytes that are looked at as UTF-8 pass unchanged, so that the decoder sees the file itself.
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")()
    num_bytes = 0
    with open_text(path, None) as stream:
        while num_bytes <= MOST_BYTES and (piece := stream.read(_SAMPLE_BYTES)):
            num_bytes += len(piece)
            try:
                decoder.decode(piece)
            except UnicodeDecodeError:
                return False
    return True


def _find_delimiter(path: Path, text: str) -> str:
    """Return what cuts the first rows into the same number of cells, and into the most."""
    best, delimiter = (0.0, 1), ""
    for candidate in _DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=candidate)
        try:
            rows = [row for row, _ in zip(reader, range(_SAMPLE_ROWS), strict=False) if row]
        except csv.Error:
            continue
        width = len(rows[0]) if rows else 0
        # A delimiter at the end of each row, and not of the header, makes no column.
        alike = sum(_width(row, width) == width for row in rows) / max(len(rows), 1)
        if width > 1 and (alike, width) > best:
            best, delimiter = (alike, width), candidate
    if not delimiter:
        raise DataError(
            f"{path}: a single column, or no table: no comma, semicolon, tab or bar stands in its "
            "first row. Give a CSV or Parquet file with a time and values."
        )
    return delimiter


def _width(row: list[str], wanted: int) -> int:
    return wanted if len(row) == wanted + 1 and not row[-1].strip() else len(row)
