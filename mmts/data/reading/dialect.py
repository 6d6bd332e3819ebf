"""How a CSV file is written, as its header line tells."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO

from mmts.data.config import ReadingConfig
from mmts.errors import DataError, raise_all

_DELIMITERS = (",", ";", "\t", "|")
_PIECE = 1 << 16
_LONGEST_HEADER = 1 << 22
_MOST_SKIPPED = 10_000
"""Rows that may stand before the header, empty or comments."""

_QUOTED = re.compile(r'"[^"]*"')
_SEPARATOR = re.compile(rb"sep=([,;\t|])")  # as spreadsheets tell one another
_WEB_PAGE = re.compile(r"\s*<(!doctype|html|\?xml|head|body)", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Header:
    """The first record of a CSV file.

    names: of the columns, without blanks at their ends; "" where one has none.
    line: the header as it is written, without the end of the line.
    next_row: number of the row after it. rest: what was read beyond it.
    bare_returns: whether lines end in a carriage return alone.
    """

    names: tuple[str, ...]
    delimiter: str
    line: bytes
    next_row: int
    rest: bytes
    bare_returns: bool


def read_header(
    stream: BinaryIO, where: str, reading: ReadingConfig, wanted: Collection[str] = ()
) -> Header:
    """Read the header of an opened file; lines that begin with # and empty ones are skipped.

    wanted: names that the header is likely to hold, which tell delimiters apart.
    Raises DataError when there is none, or when it is no header of a table.
    """
    start = stream.read(_PIECE)
    bare_returns = b"\r" in start and b"\n" not in start
    row, delimiter = 1, reading.delimiter
    comments: dict[int, bytes] = {}
    while True:
        if row > _MOST_SKIPPED:
            raise DataError(f"{where}: no header was found. Give a CSV file with a header.")
        line, rest = _next_line(stream, start, bare_returns, where)
        if not line and not rest:
            raise DataError(f"{where}: the file is empty. Give a CSV file with a header.")
        if b"\0" in line:
            raise DataError(f"{where}, row {row}: holds a NUL byte. Give a text file.")
        bare = line.strip()
        told = _SEPARATOR.fullmatch(bare)
        if told is not None:
            delimiter = told[1].decode()
        elif bare and not bare.startswith(b"#"):
            break
        elif bare:
            comments[row] = bare
            logger.info("%s: row %d, which begins with #, is skipped", where, row)
        row, start = row + 1, rest
    text = _decode(line, where, row)
    if _WEB_PAGE.match(text):
        raise DataError(
            f"{where}: not a CSV file but a web page (or XML). Download the table itself."
        )
    delimiter = delimiter or _find_delimiter(text, wanted)
    if reading.delimiter is None and delimiter != ",":
        logger.info("%s: cells are told apart by %r", where, delimiter)
    names = _split(text, delimiter, where, row)
    clean = tuple(name.strip() for name in names)
    if clean != names:
        logger.info("%s: blanks around the names of columns are left out", where)
    require_unique_names(clean, where)
    if not set(clean) & set(wanted):
        _require_no_names(comments, wanted, where)
    return Header(
        names=clean,
        delimiter=delimiter,
        line=line.rstrip(b"\r\n"),
        next_row=row + max(line.count(b"\n"), 1),
        rest=rest,
        bare_returns=bare_returns,
    )


def require_unique_names(names: Collection[str], where: str) -> None:
    """Raise DataError when two columns share a name; those without one may be several."""
    raise_all(
        DataError,
        (
            f"{where}: {count} columns are named {name!r}. Give each its own name."
            for name, count in Counter(names).items()
            if name and count > 1
        ),
    )


def _require_no_names(comments: dict[int, bytes], wanted: Collection[str], where: str) -> None:
    """Raise DataError when the header itself was taken for a comment."""
    for row, comment in comments.items():
        text = comment.decode(errors="replace").lstrip("# ")
        if {name.strip(' "') for name in re.split(r"[,;\t|]", text)} & set(wanted):
            raise DataError(
                f"{where}, row {row}: begins with #, as a comment does, and holds the names of "
                "columns. Take the # out."
            )


def _next_line(
    stream: BinaryIO, start: bytes, bare_returns: bool, where: str
) -> tuple[bytes, bytes]:
    """Return the next record with its line end, and what was read beyond."""
    end = b"\r" if bare_returns else b"\n"
    searched = 0
    while True:
        found = start.find(end, searched)
        if found >= 0:
            line = start[: found + 1]
            # Inside of quotation marks the record goes on; a comment may hold a single one.
            if line.count(b'"') % 2 == 0 or line.lstrip().startswith(b"#"):
                return line.replace(b"\r", b"\n") if bare_returns else line, start[found + 1 :]
            searched = found + 1
            continue
        piece = stream.read(_PIECE)
        if not piece:
            return start, b""
        searched = len(start)
        start += piece
        if len(start) > _LONGEST_HEADER:
            raise DataError(f"{where}: no header was found. Give a CSV file with a header.")


def _decode(line: bytes, where: str, row: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(not_utf8(where, row, line, error.start)) from None


def not_utf8(where: str, row: int, data: bytes, place: int) -> str:
    """Say which bytes are not UTF-8, and what they are likely to be."""
    begin = max(place - 40, 0)
    word = re.search(rb"[^\s,;\t|\"]*$", data[begin:place])
    begin = place if word is None else begin + word.start()
    ending = re.match(rb"[^\s,;\t|\"]*", data[place : place + 40])
    whole = data[begin : place + (len(ending[0]) if ending else 1)].decode("latin-1")
    return (
        f"{where}, row {row}: the byte {data[place : place + 1]!r} is not UTF-8 ({whole!r} if the "
        "file is latin-1). Set encoding: latin-1 for the stream, or save the file as UTF-8."
    )


def _find_delimiter(line: str, wanted: Collection[str]) -> str:
    bare = _QUOTED.sub("", line)

    def likelihood(delimiter: str) -> tuple[int, int]:
        names = {name.strip(' \t\r\n"') for name in line.split(delimiter)}
        return len(names & set(wanted)), bare.count(delimiter)

    return max(_DELIMITERS, key=likelihood)


def _split(line: str, delimiter: str, where: str, row: int) -> tuple[str, ...]:
    try:
        records = list(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{where}, row {row}: the header is no row of names: {error}. Correct the file."
        ) from None
    return tuple(records[0]) if records else ()
