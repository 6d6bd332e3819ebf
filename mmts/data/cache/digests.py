"""Digests: what a file holds and what a result is made from, each as one short name."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

from mmts.errors import DataError, OutputError
from mmts.files import make_folder, write_whole

logger = logging.getLogger(__name__)

_RACY_SECONDS = 2.0
"""The coarsest clock of a file system in use, which is FAT's."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def digest_of(content: Any) -> str:
    """Return the SHA-256 of anything that JSON can hold; equal content gives equal digests.

    The order of keys has no effect. What JSON cannot hold, NaN included, is our own bug and
    raises TypeError or ValueError.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | Path, memo_folder: str | Path | None = None) -> str:
    """Return the SHA-256 of a file's bytes.

    memo_folder: where digests are remembered, so that a file that stayed as it was is not read
    again; made when it does not exist. One that cannot be written to only costs time.
    Raises DataError when the file cannot be read.
    """
    path = Path(path).absolute()
    memo = None
    if memo_folder is not None:
        memo = Path(memo_folder) / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"
    try:
        with path.open("rb") as file:
            now = time.time()
            identity = _identity(path, os.fstat(file.fileno()))
            if memo is not None and (known := _recall(memo, identity)) is not None:
                return known
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            changed = _identity(path, os.fstat(file.fileno())) != identity
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    if memo is not None and not changed and not _is_racy(identity, now):
        try:
            make_folder(memo.parent)
            write_whole(memo, json.dumps({**identity, "sha256": digest}))
        except OutputError as error:
            # Whoever keeps more than this in the cache says so.
            logger.debug("The digest of a file is not remembered: %s", error)
    return digest


def _identity(path: Path, status: os.stat_result) -> dict[str, Any]:
    # ctime cannot be set by hand as mtime can: it shows content changed behind a restored mtime.
    return {
        "path": str(path),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _is_racy(identity: dict[str, Any], now: float) -> bool:
    """Tell whether a file could still change and keep its times.

    A file system's clock ticks coarsely, so a file written just before it was hashed may be
    written again within the same tick. Git calls such an entry of its index racily clean, and
    compares the content itself (its documentation, technical/racy-git); we hash once more at the
    next start, and remember the digest of a file that has come to rest.
    """
    latest = max(identity["mtime_ns"], identity["ctime_ns"]) / 1e9
    return bool(latest > now - _RACY_SECONDS)


def _recall(memo: Path, identity: dict[str, Any]) -> str | None:
    """Return the digest of a file that is still what it was, and None of any other."""
    try:
        found = json.loads(memo.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    digest = str(found.pop("sha256", None))
    return digest if found == identity and _SHA256.fullmatch(digest) else None
