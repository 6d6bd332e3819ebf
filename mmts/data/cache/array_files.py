"""Files of arrays (.npy): grown chunk by chunk, filled in place, and mapped instead of read."""

from __future__ import annotations

import io
import mmap
import os
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]

_KINDS = frozenset("biufcmMSU")
"""Kinds of numpy types whose bytes are their values; objects and their pickles are none."""

_BLOCK = bytes(1 << 20)


class GrowingArray:
    """An array on disk that gets longer along its first axis, in constant memory.

    The first chunk settles type and row; a chunk without rows does so too. The file is an array
    only once it is closed. All methods raise OSError as the disk does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dtype: np.dtype[Any] | None = None
        self._row: tuple[int, ...] = ()
        self._num_rows = 0

    def append(self, chunk: Array) -> None:
        """Add rows at the end. chunk: (row, ...)."""
        if self._dtype is None:
            _require_plain(chunk.dtype)
            self._dtype, self._row = chunk.dtype, chunk.shape[1:]
            self._path.write_bytes(self._header())
        assert chunk.dtype == self._dtype, f"{chunk.dtype} appended to {self._dtype}"
        assert chunk.shape[1:] == self._row, f"rows {chunk.shape[1:]} appended to {self._row}"
        # Opened anew for each chunk: a wide table has more columns than a process may have open.
        if chunk.size:
            with self._path.open("ab") as file:
                file.write(np.ascontiguousarray(chunk).reshape(-1).view(np.uint8).data)
        self._num_rows += len(chunk)

    def close(self) -> None:
        """Write the final shape."""
        with self._path.open("r+b") as file:
            file.write(self._header())

    def _header(self) -> bytes:
        # numpy leaves room for the first axis to grow, so every length gives the same number of
        # bytes; for the last rows not to be overwritten, that must be so.
        assert self._dtype is not None
        header = _header(self._dtype, (self._num_rows, *self._row))
        assert len(header) == len(_header(self._dtype, (0, *self._row)))
        return header


def create_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Create a file of zeros and map it for writing; raises OSError."""
    dtype = np.dtype(dtype)
    _require_plain(dtype)
    header = _header(dtype, shape)
    size = len(header) + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    with path.open("wb") as file:
        # The room is taken now. In a file with holes, a disk that is full would be found out by
        # a store to a mapped page, which ends the process with SIGBUS instead of an error.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, len(_BLOCK)):
                file.write(_BLOCK[: size - start])
            file.seek(0)
        file.write(header)
    mapped: np.memmap[Any, Any] = np.load(path, mmap_mode="r+", allow_pickle=False)
    return mapped


def describe_array(path: Path) -> dict[str, Any]:
    """Return what a file's array must look like when it is mapped again, as JSON."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(size - array.nbytes)
    return {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "size": size,
        "header": header.decode("latin-1"),
        "crc32": _checksum(path),
        "mtime_ns": path.stat().st_mtime_ns,
    }


def map_array(path: Path, description: dict[str, Any]) -> np.memmap[Any, Any]:
    """Map a file for reading; raises ValueError when it is not what was described, and OSError.

    All of it is read only where it was written to, or copied, since it was described.
    """
    status = path.stat()
    if status.st_size != description["size"]:
        raise ValueError(f"{path.name} has {status.st_size} bytes, not {description['size']}")
    if status.st_mtime_ns != description["mtime_ns"]:
        if _checksum(path) != description["crc32"]:
            raise ValueError(f"the content of {path.name} is damaged")
        # Only a copy, which need not be read as a whole again; whose it is, it may be.
        with suppress(OSError):
            os.utime(path, ns=(status.st_atime_ns, description["mtime_ns"]))
    header = description["header"].encode("latin-1")
    with path.open("rb") as file:
        # numpy parses a header as Python, and a damaged one ends in any of a dozen errors.
        if file.read(len(header)) != header:
            raise ValueError(f"the header of {path.name} is damaged")
    array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if [array.dtype.str, list(array.shape)] != [description["dtype"], description["shape"]]:
        raise ValueError(f"{path.name} holds another array than described")
    return array


def as_tensor(array: Array) -> Tensor:
    """Return a tensor over the same memory, which may be mapped and for reading only.

    torch knows no tensor that cannot be written to, and warns; nothing here writes to one.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))


def release(array: Array) -> None:
    """Let the system drop the pages of a mapped array that were looked at; others stay as they are.

    Pages come back from the file when they are needed. Without this a process that has gone
    through a file once seems to hold all of it.
    """
    pages = getattr(array, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(len(_BLOCK)):
            found = zlib.crc32(block, found)
    return found


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    content = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": tuple(int(length) for length in shape),
    }
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def _require_plain(dtype: np.dtype[Any]) -> None:
    assert dtype.kind in _KINDS and dtype.itemsize, f"{dtype} is no plain type"
