"""Files that are being written, and those that killed processes have left."""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_PART = re.compile(r"\.mmts-(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]{1,10})-[0-9a-f]{8}\.part")
"""Names of such files; short, as the name that one gets may be as long as any."""

_LARGEST_NUMBER = 2**31 - 1
"""Of a process."""

_LEFT_OVER_AFTER = 3600.0
"""Seconds without a write after which a process of which nothing is known is taken for dead."""


def name_part() -> str:
    """Return a new name for a file that this process writes."""
    return f".mmts-{_name_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"


def remove_left_over(folder: Path) -> None:
    """Remove what killed processes have left half-written in a folder; what cannot be stays.

    Processes of this machine are looked up. Of others, and of those that another one has got the
    number of, it counts that they have not written for an hour.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            found = _PART.fullmatch(path.name)
            if found is not None:
                with suppress(OSError):
                    if _is_dead(found) or time.time() - path.lstat().st_mtime > _LEFT_OVER_AFTER:
                        path.unlink()


def _is_dead(part: re.Match[str]) -> bool:
    """Tell whether the process that has written a file is known to be gone."""
    # There is seldom such a file, and the first forecast of a process is in a hurry.
    import psutil

    number = int(part["process"])
    is_here = part["machine"] == _name_machine() and number <= _LARGEST_NUMBER
    return is_here and not psutil.pid_exists(number)


@lru_cache
def _name_machine() -> str:
    """Return a name for all processes that know each other by their numbers.

    That is a machine since it was started, or a container, which may share the name of its host.
    """
    known = [platform.node()]
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    with suppress(OSError):
        known.append(str(Path("/proc/self/ns/pid").readlink()))
    return f"{zlib.crc32(' '.join(known).encode()):08x}"
