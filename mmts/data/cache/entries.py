"""The cache: arrays that are costly to make, kept on disk and mapped by the next start.

An entry is a folder of .npy files with a manifest. It appears whole, by one rename, or not at
all; it is checked when it is opened, and what is off is made anew.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mmts.data.cache.array_files import Array, GrowingArray, create_array, describe_array, map_array
from mmts.data.cache.digests import digest_of, file_digest
from mmts.errors import CacheError

FORMAT_VERSION = 2
MAX_BYTES = 20 * 10**9

_MANIFEST = "entry.json"
_KEY = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\.mmts-[0-9a-f]{16}")
_HOUR = 3600.0
_DAY = 24 * _HOUR

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One entry, opened.

    arrays: mapped for reading only, by name.
    description: what the maker said of them.
    """

    key: str
    arrays: dict[str, np.memmap[Any, Any]]
    description: dict[str, Any]


def key_of(ingredients: Mapping[str, Any]) -> str:
    """Return the name of the entry that is made from these: digests of files, settings, versions.

    Whatever changes the arrays must be among them, and nothing else.
    """
    return digest_of({"format_version": FORMAT_VERSION, "ingredients": dict(ingredients)})


class EntryCache:
    """A folder of entries, which processes may share.

    max_bytes: above this size, entries that were not used for longest are removed. What was used
    within the last hour stays, however much that is.
    Every failure of the disk raises CacheError, and the caller goes on without a cache.
    """

    def __init__(self, folder: str | Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes

    def file_digest(self, path: str | Path) -> str:
        """Return the SHA-256 of a file, remembered in this cache; raises DataError."""
        return file_digest(path, self.folder / "digests")

    def load(self, ingredients: Mapping[str, Any]) -> Entry | None:
        """Open an entry, or return None when it is not there or had to be discarded."""
        key = key_of(ingredients)
        folder = self.folder / key
        with disk_errors(self.folder):
            if not folder.exists():
                return None
            try:
                entry = _open_entry(folder)
            except (ValueError, FileNotFoundError, NotADirectoryError) as error:
                if _discard(folder):
                    logger.warning("%s: a damaged entry of the cache is removed: %s", folder, error)
                return None
        # The time of its last use, by which entries are removed. A folder that others wrote may
        # be for reading only.
        with suppress(OSError):
            os.utime(folder / _MANIFEST)
        return entry

    def write(self, ingredients: Mapping[str, Any]) -> EntryWriter:
        """Return what makes an entry, in a `with` block that ends with its `finish`."""
        return EntryWriter(self, ingredients)


class EntryWriter:
    """An entry in the making; a block that is left before `finish` leaves nothing behind."""

    def __init__(self, cache: EntryCache, ingredients: Mapping[str, Any]) -> None:
        self._cache = cache
        self._ingredients = dict(ingredients)
        self._folder = _temporary_folder(cache.folder)
        self._growing: dict[str, GrowingArray] = {}
        self._created: dict[str, np.memmap[Any, Any]] = {}
        self._files: dict[str, str] = {}

    def __enter__(self) -> Self:
        with disk_errors(self._cache.folder):
            self._cache.folder.mkdir(parents=True, exist_ok=True)
            self._folder.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._created.clear()
        # Gone already when the entry was published.
        shutil.rmtree(self._folder, ignore_errors=True)

    def append(self, name: str, array: Array) -> None:
        """Add a chunk at the end of a growing array; all of an array's chunks have one type.

        array: (row, ...). A first chunk without rows makes an array that may stay empty.
        """
        with disk_errors(self._cache.folder):
            if name not in self._growing:
                self._growing[name] = GrowingArray(self._new_file(name))
            self._growing[name].append(array)

    def create(
        self, name: str, dtype: npt.DTypeLike, shape: tuple[int, ...]
    ) -> np.memmap[Any, Any]:
        """Create an array of zeros and return it mapped, to be filled until `finish`."""
        with disk_errors(self._cache.folder):
            self._created[name] = create_array(self._new_file(name), dtype, shape)
        return self._created[name]

    def finish(self, description: Mapping[str, Any]) -> Entry:
        """Publish the entry and open it; when another process was first, open that one's.

        description: JSON, given back with the entry.
        """
        with disk_errors(self._cache.folder):
            for growing in self._growing.values():
                growing.close()
            for created in self._created.values():
                created.flush()
                created.flags.writeable = False
            self._write_manifest(description)
            for path in self._folder.iterdir():
                _sync(path)
            _sync(self._folder)
            self._publish()
        entry = self._cache.load(self._ingredients)
        if entry is None:
            raise CacheError(f"{self._cache.folder}: an entry vanished as soon as it was written.")
        try:
            prune(self._cache.folder, self._cache.max_bytes)
        except CacheError as error:
            logger.warning("The cache keeps what it should remove: %s", error)
        return entry

    def _new_file(self, name: str) -> Path:
        assert name not in self._files, f"two arrays are named {name}"
        # Numbered, because a column may be named as no file can be.
        self._files[name] = f"{len(self._files)}.npy"
        return self._folder / self._files[name]

    def _write_manifest(self, description: Mapping[str, Any]) -> None:
        manifest = {
            "format_version": FORMAT_VERSION,
            "key": key_of(self._ingredients),
            "ingredients": self._ingredients,
            "arrays": {
                name: {"file": file, **describe_array(self._folder / file)}
                for name, file in self._files.items()
            },
            "description": dict(description),
        }
        # Sealed as it will be read: JSON makes lists of tuples and texts of other keys.
        manifest = json.loads(json.dumps(manifest, allow_nan=False))
        sealed = {"sha256": digest_of(manifest), "manifest": manifest}
        (self._folder / _MANIFEST).write_text(json.dumps(sealed, indent=2), encoding="utf-8")

    def _publish(self) -> None:
        target = self._cache.folder / key_of(self._ingredients)
        while True:
            try:
                # A folder with something in it is never replaced: the first to come wins.
                self._folder.rename(target)
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY):
                    raise
            else:
                _sync(self._cache.folder)
                return
            # One that is damaged is discarded here, and leaves the place to ours.
            if self._cache.load(self._ingredients) is not None:
                return


class ArrayCache:
    """A cache of single arrays, such as the embeddings of texts; it does without the disk."""

    def __init__(self, folder: str | Path, max_bytes: int = MAX_BYTES) -> None:
        self._entries = EntryCache(folder, max_bytes)
        self._warned = False

    def load_or_make(self, key: str, make: Callable[[], Array]) -> Array:
        """Return an array, read-only, as it is kept, or else as `make` makes it.

        key: any text; it must differ whenever the array would. A cache that cannot be used is
        warned of once.
        """
        ingredients = {"array": key}
        try:
            entry = self._entries.load(ingredients)
        except CacheError as error:
            self._warn(error)
            entry = None
        if entry is not None:
            return entry.arrays["array"]
        made = make()
        try:
            with self._entries.write(ingredients) as writer:
                writer.create("array", made.dtype, made.shape)[...] = made
                return writer.finish({}).arrays["array"]
        except CacheError as error:
            self._warn(error)
        made = made.view()
        made.flags.writeable = False
        return made

    def _warn(self, error: CacheError) -> None:
        if not self._warned:
            logger.warning("Going on without a cache: %s", error)
        self._warned = True


def prune(folder: str | Path, max_bytes: int) -> None:
    """Remove entries until the rest fits, those first that were not used for longest.

    What was used or published within the last hour stays: another process may be about to map
    it. What dead processes left half-written is removed after a day. Raises CacheError.
    """
    now = time.time()
    entries = []
    with disk_errors(Path(folder)):
        for path in Path(folder).iterdir():
            if not (_KEY.fullmatch(path.name) or _TEMPORARY.fullmatch(path.name)):
                continue
            try:
                used, size = _use_and_size(path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # another process was faster
            if _KEY.fullmatch(path.name):
                entries.append((used, size, path))
            elif now - used > _DAY:
                shutil.rmtree(path, ignore_errors=True)
        total = sum(size for _, size, _ in entries)
        for used, size, path in sorted(entries):
            if total <= max_bytes or now - used < _HOUR:
                break
            # Safe on Linux while others have it mapped: a file without a name lives on until the
            # last mapping ends.
            _discard(path)
            total -= size
            logger.info("%s: removed from the cache, %d bytes", path, size)


def _open_entry(folder: Path) -> Entry:
    """Open and check an entry; raises ValueError or FileNotFoundError when something is off."""
    sealed = json.loads((folder / _MANIFEST).read_bytes())
    manifest = sealed.get("manifest") if isinstance(sealed, dict) else None
    if not isinstance(manifest, dict) or sealed.get("sha256") != digest_of(manifest):
        raise ValueError(f"{_MANIFEST} is damaged")
    # As somebody wrote it; what is left is whether it was us.
    if manifest["format_version"] != FORMAT_VERSION or manifest["key"] != folder.name:
        raise ValueError(f"{_MANIFEST} is of another format or for another entry")
    arrays = {
        name: map_array(folder / described["file"], described)
        for name, described in manifest["arrays"].items()
    }
    return Entry(folder.name, arrays, manifest["description"])


def _discard(folder: Path) -> bool:
    """Remove an entry; False when another process did.

    It is renamed first, so that nobody ever sees half of it.
    """
    gone = _temporary_folder(folder.parent)
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


@contextmanager
def scratch_folder(cache: Path) -> Iterator[Path]:
    """Make a folder in the cache for the time of a `with` block.

    One that a killed process has left is removed with the half-written entries. Raises CacheError,
    as for any OSError in the block.
    """
    folder = _temporary_folder(cache)
    with disk_errors(cache):
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder(parent: Path) -> Path:
    return parent / f".mmts-{secrets.token_hex(8)}"


def _use_and_size(folder: Path) -> tuple[float, int]:
    """Return when a folder or a file in it was last written, and the bytes of its files."""
    with os.scandir(folder) as found:
        files = [file.stat() for file in found]
    latest = max([folder.stat().st_mtime, *(file.st_mtime for file in files)])
    return latest, sum(file.st_size for file in files)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a failure of the disk into the one error that callers go on from."""
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"{path}: the cache cannot be used: {error.strerror or error}. "
            "Make room there, or name another folder for it."
        ) from None
