"""The records of a CSV file in blocks of bytes, each checked to be as wide as the header.

pandas fills short rows and cuts long ones in silence, so the shape of a file is checked here:
by the skeleton of delimiters and line ends, and only where that is not plain, by the csv module.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from mmts.data.reading.dialect import Header, not_utf8
from mmts.data.reading.faults import Faults, Rows
from mmts.errors import DataError

BLOCK_BYTES = 1 << 22
"""How much of a file is read at a time; more gains nothing and costs memory."""

LONGEST_ROW = 1 << 24
"""Bytes of one row; what is longer is no row, or a file that unpacks to more than anybody has."""


@dataclass(frozen=True)
class Block:
    """Whole records, none of them blank.

    data: UTF-8 bytes. rows: their numbers in the file. num_rows: how many there are.
    width: cells of each.
    """

    data: bytes
    rows: Rows
    num_rows: int
    width: int


def iterate_blocks(
    stream: BinaryIO, where: str, header: Header, block_bytes: int | None = None,
    seeks_header: bool = True,
) -> Iterator[Block]:  # fmt: skip
    """Yield the records below a header, block by block.

    seeks_header: whether to look in every row whether it repeats the header; where numbers are
    read they tell.
    Every record has as many cells as the header; those of a file whose rows all end in a
    delimiter have one more, which is empty.
    Raises DataError, when the file has been read to its end, with all faults of its shape.
    """
    reader = _Reader(where, header, seeks_header)
    rest, row = header.rest, header.next_row
    ended = False
    while not ended:
        piece = stream.read(block_bytes or BLOCK_BYTES)
        ended = not piece
        # Most blocks end with a line, and need no copy of what lies beyond.
        piece += stream.readline(BLOCK_BYTES)
        data = rest + piece if rest else piece
        if header.bare_returns:
            data = data.replace(b"\r", b"\n")
        cut = len(data) if ended else data.rfind(b"\n") + 1
        data, rest = data[:cut], data[cut:]
        if not data:
            _require_an_end(rest, where, row)
            continue
        if not data.strip():
            row += data.count(b"\n")
            continue
        block, num_lines, left = reader.check(data, row, ended)
        row += num_lines
        rest = left + rest
        _require_an_end(rest, where, row)
        if block.num_rows and not reader.faults:
            yield block
    reader.faults.raise_all()


def _require_an_end(begun: bytes, where: str, row: int) -> None:
    """Raise DataError where what is read of a row is longer than any row may be."""
    if len(begun) > LONGEST_ROW:
        raise DataError(
            f"{where}, row {row}: longer than {LONGEST_ROW:,} bytes. Give a table of text."
        )


class _Reader:
    """The check of one file; `faults` gathers what is wrong with its shape."""

    def __init__(self, where: str, header: Header, seeks_header: bool) -> None:
        self.faults = Faults()
        self._where = where
        self._header = header
        self._width = len(header.names)
        self._seeks_header = seeks_header
        self._surplus: bool | None = None
        mark = header.delimiter.encode()
        self._mark = mark
        kept = {*mark, *b'\n\r"\0'}
        self._others = bytes(byte for byte in range(256) if byte not in kept)

    @property
    def _cells(self) -> int:
        return self._width + bool(self._surplus)

    def check(self, data: bytes, row: int, is_last: bool) -> tuple[Block, int, bytes]:
        """Return the block of some lines, how many lines it took, and those left for the next."""
        if not data.isascii():
            self._require_utf8(data, row)
        rows = Rows(self._where, row)
        whole = data if data.endswith(b"\n") else data + b"\n"
        skeleton = whole.translate(None, self._others)
        if b"\0" in skeleton:
            place = whole.index(b"\0")
            number = row + whole.count(b"\n", 0, place)
            raise DataError(f"{self._where}, row {number}: holds a NUL byte. Give a text file.")
        if self._surplus is None:
            self._surplus = self._ends_in_delimiter(whole)
        if not self._surplus and self._width > 1 and not self._repeats_header(whole):
            marks = self._mark * (self._width - 1)
            num_rows = skeleton.count(b"\n")
            plain = skeleton == (marks + b"\n") * num_rows
            windows = not plain and skeleton == (marks + b"\r\n") * num_rows
            if plain or (windows and whole.count(b"\r\n") == num_rows):
                return Block(data, rows, num_rows, self._cells), num_rows, b""
        return self._check_slowly(data, rows, is_last)

    def _require_utf8(self, data: bytes, row: int) -> None:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            number = row + data.count(b"\n", 0, error.start)
            raise DataError(not_utf8(self._where, number, data, error.start)) from None

    def _repeats_header(self, data: bytes) -> bool:
        if not self._seeks_header:
            return False
        line = self._header.line + b"\n"
        if self._header.line + b"\r\n" in data:
            return True
        return data.startswith(line) or b"\n" + line in data

    def _ends_in_delimiter(self, data: bytes) -> bool | None:
        """Tell whether the first record has one cell more than the header, which is empty."""
        first = next((line for line in data.split(b"\n") if line.strip()), None)
        if first is None:
            return None
        first = first.rstrip(b"\r")
        try:
            cells = next(csv.reader([first.decode()], delimiter=self._header.delimiter), [])
        except csv.Error:
            return False
        return len(cells) == self._width + 1 and not cells[-1].strip()

    def _check_slowly(self, data: bytes, rows: Rows, is_last: bool) -> tuple[Block, int, bytes]:
        text = data.decode()
        lines = list(io.StringIO(text, newline="\n"))
        reader = csv.reader(lines, delimiter=self._header.delimiter, strict=True)
        kept: list[str] = []
        numbers: list[int] = []
        done = 0
        while done < len(lines):
            number = rows.first + done
            try:
                cells = next(reader)
            except csv.Error as error:
                if str(error).startswith("unexpected end") and not is_last:
                    return self._block(kept, numbers, rows), done, "".join(lines[done:]).encode()
                self._refuse(rows, done, error)
                break
            record = lines[done : reader.line_num]
            done = reader.line_num
            if not any(cell.strip() for cell in cells) and len(cells) < 2:
                continue
            if self._is_faulty(cells, record, rows, number, is_last and done == len(lines)):
                continue
            kept += record
            numbers.append(number)
        return self._block(kept, numbers, rows), max(done, len(lines)), b""

    def _block(self, kept: list[str], numbers: list[int], rows: Rows) -> Block:
        rows = replace(rows, numbers=np.array(numbers, dtype=np.int64))
        return Block("".join(kept).encode(), rows, len(numbers), self._cells)

    def _is_faulty(
        self, cells: list[str], record: list[str], rows: Rows, number: int, is_end: bool
    ) -> bool:
        def note(said: str, remedy: str, kind: str) -> bool:
            self.faults.add(replace(rows, first=number), 0, 1, None, said, remedy, kind)
            return True

        if tuple(cell.strip() for cell in cells) == self._header.names and len(cells) > 1:
            return note("repeats the header", "Take it out.", "header")
        if len(cells) == self._cells and not (self._surplus and cells[-1].strip()):
            return False
        width = f"{len(cells)} cell{'' if len(cells) == 1 else 's'} where the header has "
        width += str(self._width)
        if len(cells) < self._cells:
            if is_end and not record[-1].endswith("\n"):
                raise DataError(
                    f"{self._where}: the file ends in the middle of row {number}, which has "
                    f"{width}: truncated? Copy the file again, or take out the row."
                )
            return note(f"has {width}", "Write an empty cell for each missing value.", "short")
        return note(
            f"has {width}",
            f"Put a cell that holds {self._header.delimiter!r} between quotation marks, or set "
            "delimiter and decimal as the file is written.",
            "long",
        )

    def _refuse(self, rows: Rows, line: int, error: csv.Error) -> None:
        reason = str(error)
        if reason.startswith("unexpected end"):
            said, remedy = "a quotation mark is opened and never closed", "Close it."
        elif "field limit" in reason:
            said, remedy = (
                "a cell is longer than 131,072 characters",
                "Close its quotation mark, or shorten it.",
            )
        elif "new-line character" in reason:
            said, remedy = "a carriage return stands in the middle of the row", "Take it out."
        else:
            said, remedy = (
                "text follows a closing quotation mark",
                "Write a quotation mark inside of a cell twice.",
            )
        self.faults.add(rows, line, 1, None, said, remedy, reason)
