"""The file that a checkpoint is: tensors, a description in JSON, and a digest of every byte.

It is a safetensors file. Whatever the bytes are, reading it runs nothing, and takes no more memory
than the file is long, and a bounded header.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmts.errors import CheckpointError
from mmts.files import write_whole
from mmts.run_folders.names import BEST

LONGEST_HEADER = 1 << 26
"""Bytes of the names and shapes of all tensors, and of the description."""

_DESCRIPTION = "mmts"
_DIGEST = "sha256"
_DIGEST_MARK = b'"sha256":"'  # as it stands in the header; inside of a text the marks are escaped
_NO_DIGEST = b"0" * 64
_PIECE = 1 << 20
_LARGEST_INTEGER = 2**63 - 1


def write_checkpoint_file(
    path: str | Path, description: Mapping[str, Any], tensors: dict[str, Tensor]
) -> None:
    """Write a checkpoint, whole or not at all.

    Raises CheckpointError when names and description are longer than a reader takes.
    """
    written = json.dumps(description, allow_nan=False)
    data = save(tensors, {_DESCRIPTION: written, _DIGEST: _NO_DIGEST.decode()})
    (length,) = struct.unpack_from("<Q", data)
    if length > LONGEST_HEADER:
        raise CheckpointError(
            f"{path}: the description of the model would take {length:,} bytes, and at most "
            f"{LONGEST_HEADER:,} can be read again. Set hash_buckets for categories of very many "
            "names, or fewer max_words for texts."
        )
    digest = hashlib.sha256(data).hexdigest().encode()
    place = data.index(_DIGEST_MARK) + len(_DIGEST_MARK)
    write_whole(path, b"".join([data[:place], digest, data[place + len(digest) :]]))


def read_description(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself, as it was written.

    Raises CheckpointError when the file is none of ours, or when any of its bytes changed. One
    that states no digest, as before format 9, is taken as it is.
    """
    with _refused_in_words(path):
        _require_bounded_header(Path(path))
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
        if _DESCRIPTION not in metadata:
            raise CheckpointError(f"{path}: holds tensors, but no checkpoint of mmts.")
        if _DIGEST in metadata:
            _require_digest(Path(path), metadata[_DIGEST])
    try:
        found = json.loads(
            metadata[_DESCRIPTION],
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
        )
        # An escape can write half a letter, which no file can be named by or hold.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: the description of the model is damaged.")
    if _DIGEST not in metadata and _must_have_digest(found):
        raise CheckpointError(
            f"{path}: damaged: it states no digest, by which it could be checked. "
            "Copy it again from where it was trained."
        )
    return found


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint whose description was read."""
    with _refused_in_words(path), safe_open(str(path), framework="pt") as file:
        # An open file of safetensors has keys, and cannot be iterated over.
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _refused_in_words(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file.") from None
    except (SafetensorError, OSError) as error:
        _refuse(path, str(error))


def _refuse(path: str | Path, reason: str) -> NoReturn:
    raise CheckpointError(
        f"{path}: not a checkpoint of mmts, or a damaged one ({reason}). "
        "Give a best.mmts or last.mmts that `mmts train` wrote."
    ) from None


def _require_bounded_header(path: Path) -> None:
    """Make sure, before anything is read, that this is a file and its header not too long."""
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder. Give a file in it, such as {path / BEST}.")
    if path.exists() and not path.is_file():
        _refuse(path, "no file that can be read twice")
    with path.open("rb") as file:
        begin = file.read(8)
    if len(begin) < 8:
        _refuse(path, f"it holds {len(begin)} bytes")
    (length,) = struct.unpack("<Q", begin)
    if length > LONGEST_HEADER:
        _refuse(path, f"its header would take {length:,} bytes")


def _require_digest(path: Path, stated: str) -> None:
    with path.open("rb") as file:
        found = _digest_of(file)
    if found != stated:
        raise CheckpointError(
            f"{path}: damaged: its bytes are not those that were written (SHA-256 {found}, and it "
            f"states {stated[:64]}). Copy it again from where it was trained."
        )


def _digest_of(file: BinaryIO) -> str | None:
    """Return the digest of all bytes, with zeros where the file states it; None if it does not."""
    (length,) = struct.unpack("<Q", file.read(8))
    header = file.read(length)
    place = header.find(_DIGEST_MARK)
    if place < 0:
        return None
    place += len(_DIGEST_MARK)
    digest = hashlib.sha256(struct.pack("<Q", length))
    for part in (header[:place], _NO_DIGEST, header[place + len(_NO_DIGEST) :]):
        digest.update(part)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _must_have_digest(description: dict[str, Any]) -> bool:
    version = description.get("format_version")
    return isinstance(version, int) and version >= 9


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


def _bounded_integer(digits: str) -> int:
    number = int(digits)
    if abs(number) > _LARGEST_INTEGER:
        raise ValueError
    return number
