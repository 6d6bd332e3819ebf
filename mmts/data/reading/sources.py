"""Where the rows of a stream lie: a data frame, a file, a folder of files, or a pattern."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mmts.data.config import ItemFrom
from mmts.errors import DataError, nearest

Source = str | Path | pd.DataFrame
"""Where a stream's rows come from."""

PARQUET = (".parquet", ".pq")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
_TEXT = (".csv", ".tsv", ".txt")
_MARKS = "*?["
_STREAM = "mmts.stream"
"""Where a data frame keeps the name of its stream."""


def name_of(source: Source) -> str:
    """Return what to call a source in messages."""
    if not isinstance(source, pd.DataFrame):
        return str(source)
    stream = source.attrs.get(_STREAM)
    return "data frame" if stream is None else f"data frame of stream {stream!r}"


def of_stream(source: Source, stream: str) -> Source:
    """Return a source that messages call by its stream; a file is called by its own name."""
    if not isinstance(source, pd.DataFrame):
        return source
    frame = source.copy(deep=False)
    frame.attrs = {**frame.attrs, _STREAM: stream}
    return frame


def find_files(source: str | Path) -> tuple[Path, ...]:
    """Return the files of a stream, sorted by name: one, those of a folder, or of a pattern.

    Raises DataError, with what lies there, when there are none.
    """
    path = Path(source)
    if path.is_file():
        return (path,)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if _is_table(file))
        if not files:
            raise DataError(f"{source}: the folder holds no CSV or Parquet file{_contents(path)}.")
        return tuple(files)
    if any(mark in str(path) for mark in _MARKS):
        files = sorted(file for file in _glob(path) if file.is_file())
        if not files:
            raise DataError(f"{source}: no file fits the pattern{_contents(_firm_part(path))}.")
        return tuple(files)
    folder = path.parent
    siblings = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    raise DataError(f"{path}: no such file{nearest(path.name, siblings)}")


def stem_of(path: Path) -> str:
    """Return the name of a file without its suffixes: `a` of a.csv, a.csv.gz or a.parquet."""
    name = path.name
    for suffixes in (COMPRESSED, (*_TEXT, *PARQUET)):
        if Path(name).suffix.lower() in suffixes:
            name = name[: -len(Path(name).suffix)]
    return name


def item_of(path: Path, item_from: ItemFrom) -> str:
    """Return the item that the rows of a file belong to, where its path tells."""
    return path.absolute().parent.name if item_from == "folder_name" else stem_of(path)


def place_of(path: Path, source: str | Path) -> str:
    """Return where a file lies within a folder or pattern, wherever that lies itself."""
    source = Path(source)
    marked = any(mark in str(source) for mark in _MARKS)
    firm = _firm_part(source) if marked else source
    return path.relative_to(firm).as_posix() if path != firm else path.name


def is_parquet(path: Path) -> bool:
    """Tell whether a file is a Parquet file, by its name."""
    return path.suffix.lower() in PARQUET


def _is_table(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    known = bool(suffixes) and suffixes[-1] in (*_TEXT, *PARQUET)
    return known and path.is_file() and not path.name.startswith(".")


def _firm_part(path: Path) -> Path:
    """Return the folders of a pattern that hold no mark."""
    parts = path.parts
    firm = next(n for n, part in enumerate(parts) if any(mark in part for mark in _MARKS))
    return Path(*parts[:firm]) if firm else Path()


def _glob(path: Path) -> list[Path]:
    firm = _firm_part(path)
    try:
        return list(firm.glob(str(Path(*path.parts[len(firm.parts) :]))))
    except ValueError as error:
        raise DataError(f"{path}: not a pattern of file names: {error}.") from None


def _contents(folder: Path) -> str:
    if not folder.is_dir():
        return f"; there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return f"; {folder} is empty"
    return f"; {folder} holds {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
