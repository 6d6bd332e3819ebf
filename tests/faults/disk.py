"""A disk that fails: at the k-th thing that is done to it, and from then on, or that once."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.main import main


@dataclass
class FaultyDisk:
    """Stands between Python and the files below a folder.

    fails_at: number of the operation, from 1, that is refused; None for a disk that works.
    stays: whether it stays so for whatever needs room. operations: what was done, in order.
    """

    folder: Path
    fails_at: int | None = None
    error: int = errno.ENOSPC
    stays: bool = True
    operations: list[str] = field(default_factory=list)

    def do(self, what: str, path: str | Path, needs_room: bool = True) -> None:
        """Count an operation; raises OSError where it is the one that fails."""
        if not Path(os.path.abspath(path)).is_relative_to(self.folder):  # noqa: PTH100
            return
        self.operations.append(f"{what} {Path(path).suffix}")
        number = len(self.operations)
        if self.fails_at is None or number < self.fails_at:
            return
        if number == self.fails_at or (self.stays and needs_room):
            raise OSError(self.error, os.strerror(self.error), str(path))

    @property
    def has_failed(self) -> bool:
        return self.fails_at is not None and len(self.operations) >= self.fails_at


@contextmanager
def faults(disk: FaultyDisk) -> Iterator[None]:
    """Do all that is done to files in Python through this disk."""
    plain: dict[str, Callable[..., Any]] = {
        "open": Path.open, "replace": Path.replace, "mkdir": Path.mkdir, "os_open": os.open,
        "fsync": os.fsync,
    }  # fmt: skip

    class Raw(io.FileIO):
        def write(self, content: Any) -> int:
            try:
                disk.do("write", str(self.name))
            except OSError:
                # As a disk does that fills up: some of it is there.
                super().write(memoryview(content)[: len(content) // 2])
                raise
            return super().write(content)

    def open_path(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if not set(mode) & set("wxa"):
            return plain["open"](self, mode, *rest, **named)
        disk.do("open", self)
        raw = io.BufferedWriter(Raw(self, mode.replace("b", "").replace("+", "")))
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8")

    def replace(self: Path, target: Path) -> Path:
        disk.do("rename", target, needs_room=False)
        found: Path = plain["replace"](self, target)
        return found

    def mkdir(self: Path, *rest: Any, **named: Any) -> None:
        if not self.exists():
            disk.do("mkdir", self)
        plain["mkdir"](self, *rest, **named)

    def os_open(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT and not Path(path).exists():
            disk.do("create", path)
        handle: int = plain["os_open"](path, flags, *rest, **named)
        return handle

    def fsync(handle: int) -> None:
        disk.do("fsync", os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115
        plain["fsync"](handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", open_path)
        patch.setattr(Path, "replace", replace)
        patch.setattr(Path, "mkdir", mkdir)
        patch.setattr(os, "open", os_open)
        patch.setattr(os, "fsync", fsync)
        yield


def run_here(disk: FaultyDisk, *arguments: object) -> int:
    """Run a command in this process, on such a disk; returns the code it ends with."""
    log = logging.getLogger("mmts")
    before = log.handlers, log.level, log.propagate
    try:
        with pytest.MonkeyPatch.context() as patch, faults(disk):
            patch.setattr(sys, "argv", ["mmts", *map(str, arguments)])
            try:
                main()
            except SystemExit as end:
                return int(end.code or 0)
        return 0
    finally:
        log.handlers, log.level, log.propagate = before


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by its path in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
