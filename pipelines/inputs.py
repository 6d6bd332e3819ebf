"""What a command reads, held apart from what it writes: whole folders and patterns of files too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmts.data.config import DataConfig


def list_sources(data: DataConfig, root: Path | None = None) -> list[Path]:
    """Return the file, folder or pattern of each stream; root: where the data have moved to."""
    from mmts.data.source_files import stream_paths

    moved = data if root is None else data.model_copy(update={"root": str(root)})
    return list(stream_paths(moved).values())


def require_apart_from_data(
    sources: Iterable[str | Path], outputs: Sequence[Path], others: Sequence[Path] = ()
) -> None:
    """Make sure that no output would overwrite what is read, or be read as data the next time.

    sources: the file, folder or pattern of each stream. others: files that are read as well. Raises
    OutputError.
    """
    from mmts.errors import OutputError
    from mmts.files import require_apart

    require_apart(others, outputs)
    for source in dict.fromkeys(map(Path, sources)):
        files = {file.resolve() for file in _files_of(source)}
        for output in outputs:
            if output.resolve() in files:
                raise OutputError(
                    f"{output}: holds data of a stream, which would be overwritten. Name another."
                )
            if _takes_in(source, output):
                raise OutputError(
                    f"{output}: would be read as data the next time, as {source} takes it in. Name "
                    "another place."
                )


def _files_of(source: Path) -> tuple[Path, ...]:
    from mmts.data.reading.sources import find_files
    from mmts.errors import DataError

    try:
        return find_files(source)
    except DataError:
        # Whoever reads it says so, with all else that is wrong.
        return (source,)


def _takes_in(source: Path, output: Path) -> bool:
    """Tell whether a stream would read a file of this name, as `find_files` chooses what it reads.

    That it is none of the files that are there is known.
    """
    if source.is_file():
        return False
    # By its own name, and by that of what it points to where it is a link.
    places = [output.parent.resolve() / output.name, output.resolve()]
    if source.is_dir():
        folder = source.resolve()
        return any(place.parent == folder and _is_table(place.name) for place in places)
    return any(_fits(place.parts, source.resolve().parts) for place in places)


def _is_table(name: str) -> bool:
    from mmts.data.reading.sources import COMPRESSED, stem_of

    path = Path(name)
    unpacked = path.stem if path.suffix.lower() in COMPRESSED else name
    return not name.startswith(".") and stem_of(Path(unpacked)) != unpacked


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether a path fits a pattern, part by part; `**` stands for any number of folders."""
    # How many parts of the path the pattern may have taken so far.
    taken = {0}
    for part in pattern:
        if part == "**" and taken:
            taken = set(range(min(taken), len(path)))
        else:
            taken = {n + 1 for n in taken if n < len(path) and fnmatch(path[n], part)}
    return len(path) in taken
