"""Reading one file into a raw frame, before anything is known about its columns."""

from __future__ import annotations

import lzma
import zipfile
from pathlib import Path

import pandas as pd

from mmts.errors import DataError, nearest, raise_all

Source = str | Path | pd.DataFrame
"""Where a stream's rows come from."""


def name_of(source: Source) -> str:
    """Return what to call a source in messages."""
    return "data frame" if isinstance(source, pd.DataFrame) else str(source)


def read_frame(
    source: Source, num_rows: int | None = None, text_columns: list[str] | None = None
) -> pd.DataFrame:
    """Read a CSV file as it stands, or return a data frame as it is.

    num_rows: rows to read, by default all. text_columns: columns to keep as they are written.
    Raises DataError when there is no such file, or when it is no table.
    """
    if isinstance(source, pd.DataFrame):
        return source
    path = Path(source)
    if not path.is_file():
        folder = path.parent
        siblings = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        raise DataError(f"{path}: no such file{nearest(path.name, siblings)}")
    try:
        frame = pd.read_csv(
            path,
            nrows=num_rows,
            dtype=dict.fromkeys(text_columns or [], str),
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
            low_memory=False,
        )
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the file is empty. Give a CSV file with a header.") from None
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"{path}: not a well-formed CSV table: {reason}.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8. Save the file as UTF-8."
        ) from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas takes surplus cells at the front for an index, which shifts all columns.
        raise DataError(
            f"{path}: not a well-formed CSV table: rows have more cells than the header has names."
        )
    _require_unique_names(path)
    return frame


def _require_unique_names(path: Path) -> None:
    # pandas renames a repeated name in silence.
    header = pd.read_csv(
        path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig"
    )
    names = header.iloc[0].tolist()
    raise_all(
        DataError,
        (
            f"{path}: {names.count(name)} columns are named {name!r}. Give each its own name."
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ),
    )
