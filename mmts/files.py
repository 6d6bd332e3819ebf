"""Writing files whole or not at all, and what it raises to read a damaged one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mmts.errors import OutputError
from mmts.formulas import warn_of_formulas
from mmts.part_files import name_part, remove_left_over

if TYPE_CHECKING:
    import pandas as pd

JSON_FAULTS = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What Python raises where a JSON document is none, or holds something else than we write.

RecursionError for groups that stand too deep in one another, OverflowError for an infinite count.
Whoever reads what may come from a stranger catches all of them.
"""

_OTHER_TABLES = {".xlsx", ".xls", ".parquet", ".json", ".feather"}

_REMEDIES = {
    errno.ENOSPC: "Make room there, or name another place.",
    errno.EDQUOT: "Make room within the quota, or name another place.",
    errno.EFBIG: "The system allows no larger file: raise the limit (ulimit -f), or name another "
    "place.",
    errno.EACCES: "Name a place in which you may write.",
    errno.EPERM: "Name a place in which you may write.",
    errno.EROFS: "Name a place in which you may write.",
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.ENOENT: "Its folder is gone: make it again, or name another.",
}


def output_error(path: str | Path, error: OSError) -> OutputError:
    """Return what to tell where a file or a folder cannot be written, by what the system said."""
    remedy = _REMEDIES.get(error.errno or 0, "Name another place.")
    return OutputError(
        f"{path}: cannot be written: {error.strerror or error}. {remedy} What was there before "
        "stays as it was."
    )


def require_folder(path: str | Path) -> None:
    """Make sure, before any work is done, that a file can be written at this place.

    Raises OutputError when its folder does not exist or takes no files, or when the place is a
    folder, a pipe or a device.
    """
    path = Path(path)
    if path.name == "-":
        raise OutputError("-: a file is not written to standard output. Name one for it.")
    try:
        if not stat.S_ISDIR(path.parent.stat().st_mode):
            raise FileNotFoundError
        _require_replaceable(path)
    except (FileNotFoundError, NotADirectoryError):
        raise OutputError(
            f"{path}: there is no folder {path.parent}. Make it, or name another."
        ) from None
    except OSError as error:
        raise output_error(path, error) from None
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"{path}: the folder {path.parent} takes no files. Name one in which you may write."
        )


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
    except (FileExistsError, NotADirectoryError):
        raise OutputError(
            f"{path}: cannot be made, as there is a file of this name, or of that of a folder "
            "above it. Name another folder."
        ) from None
    except OSError as error:
        raise output_error(path, error) from None


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Have a file to write to, which takes its place when the `with` block ends, and not before.

    A reader, a crash or a power cut sees the old file or the new one and no third. Where the place
    is a link, what it points to is replaced. Raises OutputError when it cannot be written to, as
    for any OSError in the block, which is therefore to do nothing but write.
    """
    # In the target's own folder: a rename is atomic only within one file system.
    target = Path(os.path.realpath(path))
    part = target.with_name(name_part())
    try:
        _require_replaceable(path)
        remove_left_over(target.parent)
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise output_error(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink()
    _sync_names(target.parent)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file whole or not at all, text as UTF-8; raises OutputError as `whole_file` does."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def require_csv_name(path: Path) -> None:
    """Raise OutputError where a name promises what a table is not written as."""
    if path.suffix.lower() in _OTHER_TABLES:
        raise OutputError(
            f"{path}: what is written is CSV, which a {path.suffix} is not. Name it "
            f"{path.with_suffix('.csv').name}."
        )


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all, without ever holding all of its text.

    A warning tells of what a spreadsheet would run.
    """
    warn_of_formulas(path, table)
    with whole_file(path) as file:
        table.to_csv(file, index=False)


def _require_replaceable(path: str | Path) -> None:
    """Make sure that there is a file or nothing; raises OutputError, and OSError as `stat` does."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path}: is a folder. Name a file in it.")
    if not stat.S_ISREG(mode):
        raise OutputError(
            f"{path}: is a pipe or a device, and a file is written whole or not at all. Name a "
            "file; `cat` hands it on."
        )


def _sync_names(folder: Path) -> None:
    """Bring a rename to the disk, which a power cut could undo otherwise."""
    # Not every file system can; both the old file and the new one are whole.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
