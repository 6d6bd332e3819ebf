"""Opening a text file: unpacked, and as UTF-8 whatever its encoding is."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import logging
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from mmts.errors import DataError

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_TEXT = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a Parquet file; name it .parquet"),
    (b"\x1f\x8b", "a gzip archive; name it .csv.gz"),
    (b"PK\x03\x04", "an Excel workbook or a zip archive; save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the table as CSV"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"(\xb5/\xfd", "a zstd archive; unpack it"),
)
# Without a format named, lzma takes the older one as well, of which any few bytes may ask for a
# dictionary of four gigabytes.
_PACKED: dict[str, Callable[[Path, str], Any]] = {
    ".gz": gzip.open, ".bz2": bz2.open, ".xz": partial(lzma.open, format=lzma.FORMAT_XZ)
}  # fmt: skip
_PACKED_FAULTS = (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
_PIECE = 1 << 16

logger = logging.getLogger(__name__)


@contextmanager
def open_text(path: Path, encoding: str | None) -> Iterator[BinaryIO]:
    """Open a file, packed or not, as a stream of UTF-8 bytes without a byte order mark.

    encoding: what the config says; a byte order mark outweighs it.
    Raises DataError when the file cannot be read, is no text, or the encoding is unknown.
    """
    if encoding is not None:
        _require_known(encoding, path)
    try:
        with _unpacked(path) as stream:
            begin = stream.peek(8)[:8]
            mark, found = next(
                ((mark, name) for mark, name in _BYTE_ORDER_MARKS if begin.startswith(mark)),
                (b"", None),
            )
            if found is None:
                _require_text(begin, path, encoding)
            stream.read(len(mark))
            spoken = found or encoding or "utf-8"
            if found is not None and encoding is not None:
                logger.info("%s: read as %s, as its byte order mark tells", path, found)
            if codecs.lookup(spoken).name == "utf-8":
                yield stream
            else:
                yield io.BufferedReader(_Transcoder(stream, spoken, path), _PIECE)
    except _PACKED_FAULTS as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    except MemoryError:
        if not is_packed(path):
            raise
        raise DataError(
            f"{path}: cannot be unpacked: there is not the memory that it asks for. Pack it again, "
            "or unpack it."
        ) from None


def is_packed(path: Path) -> bool:
    """Tell whether a file is unpacked while it is read, as its name says."""
    return path.suffix.lower() in (".zip", *_PACKED)


def _unpacked(path: Path) -> io.BufferedReader:
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return _only_member(path)
    if suffix in _PACKED:
        raw = _PACKED[suffix](path, "rb")
        return io.BufferedReader(cast(io.RawIOBase, raw), _PIECE)
    return path.open("rb")


def _only_member(path: Path) -> io.BufferedReader:
    archive = zipfile.ZipFile(path)
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.startswith("__MACOSX")
    ]
    if len(members) != 1:
        archive.close()
        names = ", ".join(member.filename for member in members[:6])
        raise DataError(
            f"{path}: the archive holds {len(members)} files{': ' if names else ''}{names}. "
            "Give one that holds a single CSV file, or unpack it and name the folder."
        )
    try:
        member = archive.open(members[0])
    except RuntimeError as error:  # as zipfile says that a password is needed
        archive.close()
        raise DataError(f"{path}: cannot be read: {error}.") from None
    return io.BufferedReader(cast(io.RawIOBase, member), _PIECE)


def _require_known(encoding: str, path: Path) -> None:
    try:
        text = "a,1\n".encode(encoding).decode(encoding)
    except (LookupError, UnicodeError):
        text = ""
    if text != "a,1\n":
        raise DataError(
            f"{path}: {encoding!r} is no encoding of text that is known here. "
            "Set encoding to one such as utf-8, latin-1, cp1252 or utf-16."
        )


def _require_text(begin: bytes, path: Path, encoding: str | None) -> None:
    for mark, kind in _NOT_TEXT:
        if begin.startswith(mark):
            raise DataError(f"{path}: not a table of text but {kind}.")
    wide = encoding is not None and "utf" in encoding.lower()
    if b"\0" in begin and not wide:
        raise DataError(
            f"{path}: not a text file: it begins with NUL bytes. Give a CSV file; one that was "
            "saved as UTF-16 without a byte order mark needs encoding: utf-16-le."
        )


class _Transcoder(io.RawIOBase):
    """A stream of UTF-8 made from one in another encoding."""

    def __init__(self, stream: BinaryIO, encoding: str, path: Path) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._path = path
        self._row = 1
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    # The stub allows any buffer; io.BufferedReader gives a memoryview.
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            piece = self._stream.read(_PIECE)
            self._ended = not piece
            try:
                text = self._decoder.decode(piece, final=self._ended)
                self._ready = text.encode()
            except UnicodeError as error:
                self._refuse(error)
            self._row += self._ready.count(b"\n")
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _refuse(self, error: UnicodeError) -> None:
        row, shown = self._row, ""
        if isinstance(error, UnicodeDecodeError):
            good = error.object[: error.start].decode(self._encoding, errors="ignore")
            row += good.count("\n")
            shown = f" {error.object[error.start : error.start + 4]!r}"
        raise DataError(
            f"{self._path}, row {row}: bytes{shown} are not {self._encoding}. "
            "Correct encoding for the stream."
        ) from None
