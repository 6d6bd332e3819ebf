"""Keeping other commands out of a folder while one writes to it."""

from __future__ import annotations

import errno
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmts.errors import OutputError
from mmts.files import make_folder, output_error
from mmts.part_files import remove_left_over

LOCK = ".mmts.lock"
"""The file in the folder that is locked. It stays: to remove it would split who waits for it."""

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)

logger = logging.getLogger(__name__)


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder for the time of a `with` block, and make it first.

    The system lets go of the lock whatever ends this process. What killed processes have left
    half-written in the folder is removed. Raises OutputError when another process holds it, saying
    which, or when it cannot be written to.
    """
    make_folder(folder)
    # A lock that is a file and no more would outlive a process that is killed.
    lock = FileLock(folder / LOCK, blocking=False, fallback_to_soft=False, thread_local=False)
    try:
        lock.acquire()
        # For whoever is refused; the lock itself needs no content.
        (folder / LOCK).write_text(_name_this_process(), encoding="utf-8")
    except Timeout:
        holder = _read_holder(folder)
        raise OutputError(
            f"{folder}: {holder} is writing to it. Wait for it to end, or name another folder."
        ) from None
    except OSError as error:
        lock.release()
        if error.errno not in _NO_LOCKS:
            raise output_error(folder, error) from None
        logger.warning(
            "%s: this file system knows no locks, so let no other command write there", folder
        )
    try:
        remove_left_over(folder)
        yield
    finally:
        lock.release()


def is_empty(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what `hold_folder` leaves in it."""
    return all(path.name == LOCK for path in folder.iterdir())


def _name_this_process() -> str:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {platform.node()} ({command}, since {began})"


def _read_holder(folder: Path) -> str:
    try:
        return (folder / LOCK).read_text(encoding="utf-8") or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
