"""Reading a file of which nothing is known: encoding, delimiter, and cells as they are written."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pandas as pd

from mmts.errors import DataError, nearest, raise_all
from mmts.inspection.numbers import is_plain_number

MOST_BYTES = 200_000_000
"""Size above which only the first rows of a file are looked at."""

MOST_ROWS = 1_000_000
"""How many rows of a greater file are looked at."""

_SAMPLE_BYTES = 1_000_000
_SAMPLE_ROWS = 50
_DELIMITERS = (",", ";", "\t", "|")
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class RawTable:
    """One file, its cells as they are written, without the blanks around them; empty ones are NA.

    encoding, delimiter: None where a reader finds them by itself.
    is_partial: whether the file goes on behind these rows.
    """

    path: Path
    cells: pd.DataFrame
    encoding: str | None = None
    delimiter: str | None = None
    is_partial: bool = False


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
    table = _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)
    names = list(table.cells.columns)
    raise_all(
        DataError,
        (
            f"{path}: {count} columns are named {name!r}. Give each its own name."
            for name, count in Counter(names).items()
            if count > 1 and name
        ),
    )
    if table.cells.empty:
        raise DataError(f"{path}: no row below the header. Give a file that holds data.")
    if len(names) < 2:
        raise DataError(f"{path}: a single column, {names[0]!r}. A table has a time and values.")
    return table


def _read_parquet(path: Path) -> RawTable:
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
        size = file.metadata.num_rows
        is_partial = path.stat().st_size > MOST_BYTES and size > MOST_ROWS
        batches = file.iter_batches(batch_size=MOST_ROWS)
        frame = next(batches).to_pandas() if is_partial else file.read().to_pandas()
    except (OSError, ArrowException, StopIteration) as error:
        raise DataError(f"{path}: not a Parquet table: {error}.") from None
    cells = pd.DataFrame(
        {name: frame[name].astype("string").str.strip() for name in frame.columns},
        columns=frame.columns,
    )
    return RawTable(path, _named(cells, list(frame.columns)), is_partial=is_partial)


def _read_csv(path: Path) -> RawTable:
    is_partial = path.stat().st_size > MOST_BYTES
    try:
        with _open(path) as file:
            head = file.read(_SAMPLE_BYTES)
            encoding, must_tell = _find_encoding(path, head, file.read(0 if is_partial else -1))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    text = head.decode(encoding, errors="ignore")
    if not text.strip():
        raise DataError(f"{path}: the file is empty. Give a CSV file with a header.")
    if text.lstrip().startswith("<"):
        raise DataError(f"{path}: not a CSV file but a web page (or XML). Download the table.")
    # As the reader does: lines before the header that are empty or begin with # are skipped.
    lines = text.splitlines(keepends=True)
    skipped = next(n for n, line in enumerate(lines) if line.strip() and line.strip()[0] != "#")
    text = "".join(lines[skipped:])
    delimiter = _find_delimiter(path, text)
    try:
        frame = pd.read_csv(
            path,
            sep=delimiter,
            encoding=encoding,
            dtype=str,
            header=None,
            skiprows=skipped,
            keep_default_na=False,
            na_values=[""],
            nrows=MOST_ROWS + 1 if is_partial else None,
            skip_blank_lines=True,
        )
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"{path}: not a well-formed CSV table: {reason}.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    header = ["" if pd.isna(name) else str(name) for name in frame.iloc[0]]
    if all(is_plain_number(name) for name in header if name.strip()):
        raise DataError(
            f"{path}: the first row holds numbers, not the names of columns. Write a header."
        )
    cells = frame.iloc[1:].reset_index(drop=True)
    stripped = pd.DataFrame({name: cells[name].str.strip() for name in cells.columns})
    return RawTable(
        path,
        _named(stripped.replace("", pd.NA), header),
        encoding if must_tell else None,
        None if delimiter == "," else delimiter,
        is_partial,
    )


def _open(path: Path) -> IO[bytes]:
    match path.suffix:
        case ".gz":
            return cast("IO[bytes]", gzip.open(path, "rb"))
        case ".bz2":
            return bz2.open(path, "rb")
        case ".xz":
            return lzma.open(path, "rb")
    return path.open("rb")


def _named(cells: pd.DataFrame, header: list[str]) -> pd.DataFrame:
    named = cells.astype("string")
    named.columns = pd.Index([str(name).strip() for name in header], dtype=object)
    return named


def _find_encoding(path: Path, head: bytes, rest: bytes) -> tuple[str, bool]:
    """Return the encoding, and whether a config has to name it."""
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding, False
    if b"\0" in head:
        raise DataError(f"{path}: not a text file. Give a CSV or Parquet file.")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(head)
        decoder.decode(rest)
    except UnicodeDecodeError:
        return "cp1252" if _decodes(head + rest, "cp1252") else "latin-1", True
    return "utf-8", False


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
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
        alike = sum(len(row) == width for row in rows) / max(len(rows), 1)
        if width > 1 and (alike, width) > best:
            best, delimiter = (alike, width), candidate
    if not delimiter:
        raise DataError(
            f"{path}: a single column, or no table: no comma, semicolon, tab or bar stands in its "
            "first row. Give a CSV or Parquet file with a time and values."
        )
    return delimiter
