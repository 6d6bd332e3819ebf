"""Tables of large files, parsed once and mapped from then on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmts.data.cache.array_files import GrowingArray, release
from mmts.data.cache.digests import digest_of, file_digest
from mmts.data.cache.entries import EntryCache, EntryWriter, scratch_folder
from mmts.data.cache.spoken import Spoken
from mmts.data.config import DataConfig, ItemFrom, StreamConfig
from mmts.data.reading.opening import is_packed
from mmts.data.reading.reader import read_table
from mmts.data.reading.sinks import ColumnSink
from mmts.data.reading.sources import Source, find_files, item_of, place_of
from mmts.data.schema import ColumnSchema
from mmts.data.table import Table, Words
from mmts.errors import CacheError, ConfigError, DataError

MIN_BYTES = 64_000_000
"""Size of a stream's files above which `cache: auto` keeps them."""

PACKING = 6
"""How many times as large a packed file is likely to be when unpacked: tables pack to a fifth and
to a tenth, and only some formats tell."""

BLOCK = 1_000_000
"""Rows that are copied at once."""

_VERSION = 1
"""To be raised when the same file is to be read to another table."""

_NOT_READING = {
    "path", "context_length", "frequency", "stamp", "delay", "known_ahead", "text_features",
}  # fmt: skip
"""Settings that change nothing about how cells are read."""

logger = logging.getLogger(__name__)


def choose_cache(config: DataConfig, sources: Mapping[str, Source]) -> EntryCache | None:
    """Return the cache that the config asks for, where there is something to keep in it.

    Raises ConfigError when there can be no such folder.
    """
    if config.cache == "never":
        return None
    sizes = [_size_of(source) for source in sources.values() if isinstance(source, str | Path)]
    if config.cache == "auto" and max(sizes, default=0) <= MIN_BYTES:
        return None
    return EntryCache(cache_folder(config))


def cache_folder(config: DataConfig) -> Path:
    """Return the folder of the cache; raises ConfigError when there can be none of this name."""
    try:
        folder = Path(config.cache_folder).expanduser()
        folder.exists()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"data.cache_folder: {config.cache_folder!r} names no folder ({error}). "
            "Name another, or set data.cache: never."
        ) from None
    return folder


def _size_of(source: str | Path) -> int:
    try:
        return sum(
            file.stat().st_size * (PACKING if is_packed(file) else 1) for file in find_files(source)
        )
    except DataError:
        # The reader will say so, of this file and of all others.
        return 0


def digest_source(source: str | Path, item_from: ItemFrom, cache: EntryCache | None) -> str:
    """Return the SHA-256 of a file, or one over contents and what paths tell of several.

    cache: remembers the digests of files that did not change. Raises DataError.
    """
    memos = None if cache is None else cache.folder / "digests"
    files = find_files(source)
    if item_from != "column":
        return digest_of([[item_of(file, item_from), file_digest(file, memos)] for file in files])
    if files == (Path(source),):
        return file_digest(source, memos)
    return digest_of([[place_of(file, source), file_digest(file, memos)] for file in files])


def versions(*packages: str) -> dict[str, str | None]:
    """Return the versions of packages that decide what is kept; None where one is missing."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def load_table(
    source: Source,
    stream: StreamConfig,
    columns: tuple[ColumnSchema, ...],
    cache: EntryCache | None,
) -> Table:
    """Read a table, from the cache where it is kept; what was said while reading is said again.

    Raises DataError as `read_table` does. A cache that cannot be used costs a warning.
    """
    if cache is None or not isinstance(source, str | Path):
        return read_table(source, stream, columns)
    ingredients = {
        "step": "table",
        "version": _VERSION,
        "versions": versions("mmts", "pandas", "tzdata"),
        "files": digest_source(source, stream.item_from, cache),
        "stream": stream.model_dump(mode="json", exclude=_NOT_READING),
        "columns": [column.model_dump(mode="json") for column in columns],
    }
    try:
        entry = cache.load(ingredients)
        if entry is None:
            with scratch_folder(cache.folder) as folder:
                with Spoken() as spoken:
                    table = read_table(source, stream, columns, _MappedSinks(folder))
                now = digest_source(source, stream.item_from, cache)
                require_unchanged(ingredients["files"], now, str(source))
                with cache.write(ingredients) as writer:
                    entry = writer.finish({**_store(table, writer), "spoken": spoken.messages})
        else:
            logger.info("%s: mapped from %s, parsed before", source, cache.folder)
            Spoken(entry.description["spoken"]).repeat()
    except CacheError as error:
        logger.warning("going on without a cache: %s", error)
        return read_table(source, stream, columns)
    return _restore(str(source), entry.arrays, entry.description)


def require_unchanged(before: object, now: object, what: str) -> None:
    """Make sure that files are those that were looked at before they were read.

    before, now: their digests. Raises CacheError, as what was read may be of neither.
    """
    if before != now:
        raise CacheError(f"{what} changed while it was read")


def _store(table: Table, writer: EntryWriter) -> dict[str, Any]:
    """Write the arrays of a table; returns the rest of it."""
    arrays: dict[str, npt.NDArray[Any]] = {"begin": table.begin, "end": table.end}
    if table.times is not None:
        arrays["times"] = table.times
    if table.available is not None:
        arrays["available"] = table.available
    words = {}
    for name, column in table.columns.items():
        if isinstance(column, Words):
            words[name] = list(column.words)
        arrays[f"column {name}"] = column.codes if isinstance(column, Words) else column
    for name, array in arrays.items():
        for begin in range(0, max(len(array), 1), BLOCK):
            writer.append(name, array[begin : begin + BLOCK])
            release(array)
    return {
        "items": None if table.items is None else list(table.items),
        "columns": list(table.columns),
        "words": words,
        "has_time_zone": table.has_time_zone,
    }


def _restore(source: str, arrays: Mapping[str, Any], description: Mapping[str, Any]) -> Table:
    columns: dict[str, npt.NDArray[np.float64] | Words] = {}
    for name in description["columns"]:
        array = arrays[f"column {name}"]
        words = description["words"].get(name)
        columns[name] = array if words is None else Words(array, tuple(words))
    items = description["items"]
    return Table(
        source=source,
        items=None if items is None else tuple(items),
        begin=arrays["begin"],
        end=arrays["end"],
        times=arrays.get("times"),
        columns=columns,
        has_time_zone=description["has_time_zone"],
        available=arrays.get("available"),
    )


class _MappedSinks:
    """Sinks that grow in files of a scratch folder, and are mapped when they are full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def open(self, name: str, dtype: npt.DTypeLike) -> ColumnSink:
        self.count += 1
        return _MappedSink(self.folder / f"{self.count}.npy", np.dtype(dtype))


class _MappedSink:
    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path = path
        self.dtype = dtype
        self.growing = GrowingArray(path)
        self.append(np.zeros(0, dtype=dtype))

    def append(self, values: npt.NDArray[Any]) -> None:
        self.growing.append(np.ascontiguousarray(values, dtype=self.dtype))

    def finish(self) -> npt.NDArray[Any]:
        self.growing.close()
        mapped: npt.NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return mapped
