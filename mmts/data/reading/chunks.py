"""The rows of a source in chunks of columns: a data frame, or CSV and Parquet files.

A chunk holds the columns as pandas reads them; what their cells mean is settled in cells and
stamps. No chunk is kept, so that a file never lies in memory as a whole.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from mmts.data.config import ReadingConfig
from mmts.data.reading.blocks import Block, iterate_blocks
from mmts.data.reading.dialect import read_header, require_unique_names
from mmts.data.reading.faults import Rows
from mmts.data.reading.opening import open_text
from mmts.data.reading.parquet import iterate_parquet, parquet_names
from mmts.data.reading.sources import Source, find_files, is_parquet, name_of
from mmts.errors import DataError, first_line

CellKind = Literal["number", "word", "key"]
"""How the cells of a column are taken from a file: as numbers, or as they are written; no value
of a key stands for 'missing'."""

CHUNK_ROWS = 1 << 16
"""Rows of a chunk at most, of Parquet files and data frames."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a source.

    columns: name to cells, (row,). file: where they stand; None of a data frame.
    """

    columns: dict[str, pd.Series]
    rows: Rows
    num_rows: int
    file: Path | None = None


def read_names(source: Source, reading: ReadingConfig, wanted: Collection[str] = ()) -> Headers:
    """Return the names of the columns of each file of a source, as messages call the file.

    wanted: names that are likely to be there, which tell delimiters apart.
    """
    if isinstance(source, pd.DataFrame):
        names = _names_of_frame(source)
        require_unique_names(names, name_of(source))
        return {name_of(source): names}
    return {str(file): _names_of_file(file, reading, wanted) for file in find_files(source)}


Headers = dict[str, tuple[str, ...]]
"""The names of the columns of each file."""


def iterate_chunks(
    source: Source, kinds: Mapping[str, CellKind], reading: ReadingConfig, size: int | None = None
) -> Iterator[Chunk]:
    """Yield the named columns chunk by chunk, file by file in the order of their names.

    size: of a chunk, in bytes of a CSV file, or in rows; by default what is quick.
    """
    if isinstance(source, pd.DataFrame):
        yield from _chunks_of_frame(source, kinds, size)
        return
    for file in find_files(source):
        chunks = (
            _chunks_of_parquet(file, kinds, size)
            if is_parquet(file)
            else _chunks_of_csv(file, kinds, reading, size)
        )
        for chunk in chunks:
            yield replace(chunk, file=file)


def _names_of_frame(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(str(name).strip() for name in frame.columns)


def _names_of_file(path: Path, reading: ReadingConfig, wanted: Collection[str]) -> tuple[str, ...]:
    if not is_parquet(path):
        with open_text(path, reading.encoding) as stream:
            names = read_header(stream, str(path), reading, wanted).names
        # A delimiter at the end of each line makes no column.
        return names[:-1] if len(names) > 1 and not names[-1] else names
    names = tuple(name.strip() for name in parquet_names(path))
    require_unique_names(names, str(path))
    return names


def _chunks_of_frame(
    frame: pd.DataFrame, kinds: Mapping[str, CellKind], size: int | None
) -> Iterator[Chunk]:
    places = {name: place for place, name in enumerate(_names_of_frame(frame))}
    rows = Rows(name_of(frame), first=1)
    for begin in range(0, len(frame), size or CHUNK_ROWS):
        part = frame.iloc[begin : begin + (size or CHUNK_ROWS)]
        columns = {name: part.iloc[:, places[name]] for name in kinds}
        yield Chunk(columns, replace(rows, first=1 + begin), len(part))


def _chunks_of_parquet(
    path: Path, kinds: Mapping[str, CellKind], size: int | None
) -> Iterator[Chunk]:
    raw = {name.strip(): name for name in parquet_names(path)}
    first = 1
    for frame in iterate_parquet(path, [raw[name] for name in kinds], size or CHUNK_ROWS):
        columns = {name: frame[raw[name]] for name in kinds}
        yield Chunk(columns, Rows(str(path), first), len(frame))
        first += len(frame)


def _chunks_of_csv(
    path: Path, kinds: Mapping[str, CellKind], reading: ReadingConfig, size: int | None
) -> Iterator[Chunk]:
    where = str(path)
    with open_text(path, reading.encoding) as stream:
        header = read_header(stream, where, reading, kinds)
        parser = _Parser(header.names, header.delimiter, kinds, reading)
        tells = any(kind == "number" for kind in kinds.values())
        for block in iterate_blocks(stream, where, header, size, seeks_header=not tells):
            yield Chunk(parser.columns_of(block), block.rows, block.num_rows)


class _Parser:
    """Turns the blocks of one CSV file into columns.

    A column that holds no plain numbers, or no plain text, is read once more as it is written,
    and from then on at once.
    """

    def __init__(
        self, names: tuple[str, ...], delimiter: str, kinds: Mapping[str, CellKind],
        reading: ReadingConfig,
    ) -> None:  # fmt: skip
        self._names = names
        self._places = {name: place for place, name in enumerate(names)}
        self._kinds = kinds
        self._words = [value for value in reading.missing_values if isinstance(value, str)]
        self._options: dict[str, Any] = {
            "header": None,
            "index_col": False,
            "sep": delimiter,
            "decimal": reading.decimal,
            "keep_default_na": False,
            "skip_blank_lines": False,
            "encoding": "utf-8",
        }
        numbers = {name for name, kind in kinds.items() if kind == "number"}
        # pandas takes marks between thousands wherever they stand; cells looks closer.
        self._written = numbers if reading.thousands is not None else set()

    def columns_of(self, block: Block) -> dict[str, pd.Series]:
        """Return the columns of a block."""
        columns = self._read(block, self._kinds)
        if columns is None:
            self._written |= {
                name
                for name, kind in self._kinds.items()
                if kind == "number" and self._read(block, [name]) is None
            }
            columns = self._read(block, self._kinds)
            assert columns is not None
        unclear = {
            name
            for name, kind in self._kinds.items()
            if kind != "number" and name not in self._written and not _is_text(columns[name])
        }
        if unclear:
            # Such as 20130102 or 007, of which pandas makes numbers; to look again where it did
            # costs less than to tell it beforehand.
            self._written |= unclear
            return self.columns_of(block)
        if not self._names[-1]:
            self._require_nothing_below_no_name(block)
        return columns

    def _read(self, block: Block, names: Collection[str]) -> dict[str, pd.Series] | None:
        """Parse some columns; None when one of numbers holds something else."""
        places = {name: self._places[name] for name in names}
        types: dict[Any, Any] = {
            places[name]: object if name in self._written else np.float64
            for name in names
            if name in self._written or self._kinds[name] == "number"
        }
        missing = {
            place: ["", *([] if self._kinds[name] == "key" else self._words)]
            for name, place in places.items()
        }
        try:
            frame = self._parse(block, sorted(places.values()), types, missing)
        except pd.errors.ParserError as error:
            raise DataError(
                f"{block.rows.where}: not a well-formed CSV table: {first_line(error)}."
            ) from None
        except pd.errors.DtypeWarning:
            self._written |= {name for name in names if self._kinds[name] != "number"}
            return self._read(block, names)
        except ValueError:
            return None
        if len(frame) != block.num_rows:
            raise DataError(
                f"{block.rows.where}, row {block.rows.number(0)} and after: the rows cannot be "
                "told apart. Write quotation marks inside of cells twice."
            )
        return {name: frame[place] for name, place in places.items()}

    def _require_nothing_below_no_name(self, block: Block) -> None:
        frame = self._parse(block, [len(self._names) - 1], object, [""])
        cells = frame.iloc[:, 0].to_numpy(dtype=object)
        full = [row for row, cell in enumerate(cells) if isinstance(cell, str) and cell.strip()]
        if full:
            raise DataError(
                f"{block.rows.where}, row {block.rows.number(full[0])}: {cells[full[0]]!r} stands "
                "in a column without a name. Name the column, or take it out."
            )

    def _parse(self, block: Block, places: list[int], types: Any, missing: Any) -> pd.DataFrame:
        options = {
            **self._options,
            "names": range(block.width),
            "usecols": places,
            "dtype": types,
            "na_values": missing,
        }
        with warnings.catch_warnings():
            # Where a part of a column looks like numbers and another does not.
            warnings.simplefilter("error", pd.errors.DtypeWarning)
            return cast(pd.DataFrame, pd.read_csv(io.BytesIO(block.data), **options))


def _is_text(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.StringDtype):
        return True
    return pd.api.types.infer_dtype(column, skipna=True) in ("string", "empty")
