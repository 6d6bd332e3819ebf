"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmts.errors import OutputError


def require_folder(path: str | Path) -> None:
    """Make sure, before any work is done, that a file can be written at this place.

    Raises OutputError when its folder does not exist, or when the place is a folder itself.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}. Make it, or name another.")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder. Name a file in it.")


def require_picture_name(path: str | Path) -> None:
    """Make sure that a name ends as that of a picture that can be drawn; raises OutputError."""
    if Path(path).suffix.lower() not in (".png", ".svg"):
        raise OutputError(f"{path}: a picture is SVG or PNG. Let its name end in .svg or .png.")


def require_apart(inputs: Sequence[str | Path], outputs: Sequence[str | Path]) -> None:
    """Make sure that no output would overwrite an input or another output; raises OutputError."""
    taken = {Path(path).resolve() for path in inputs}
    for path in outputs:
        if Path(path).resolve() in taken:
            raise OutputError(f"{path}: is read or written by this command already. Name another.")
        taken.add(Path(path).resolve())


def make_folder(path: str | Path) -> None:
    """Make a folder and those above it; one that exists stays as it is.

    Raises OutputError when it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made: {error.strerror}.") from None


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one and no third.

    Text is written as UTF-8. Raises OutputError when the place cannot be written to; what stood
    there then stays as it was.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary: str | None = None
    try:
        # In the target's own folder: a rename is atomic only within one file system.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give this one the mode of any other.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}.") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
