"""What a served model is sent: streams as data frames, or as JSON can write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmts.errors import DataError, raise_all

_FORMS = (
    "Send its rows as a list of records, [{column: value}, ...], or its columns as lists, "
    "{column: [value, ...]}."
)


def read_streams(streams: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return the streams of a request as data frames, cells as they came.

    streams: for each a data frame, a list of records or a dict of columns; None counts as left
    out. Text is no stream: a request must not name a file of the machine that serves.
    Raises DataError for every stream of another form.
    """
    frames, problems = {}, []
    for name, rows in streams.items():
        if rows is None:
            continue
        try:
            frames[name] = _to_frame(rows)
        except ValueError as error:
            problems.append(f"stream {name!r}: {error}. {_FORMS}")
    raise_all(DataError, problems)
    return frames


def _to_frame(rows: Any) -> pd.DataFrame:
    if isinstance(rows, pd.DataFrame):
        return rows
    if isinstance(rows, list):
        for place, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                raise ValueError(f"row {place} is {_form_of(row)}, not a record")
        return pd.DataFrame(rows)
    if isinstance(rows, Mapping):
        for name, cells in rows.items():
            if not isinstance(cells, (list, tuple, np.ndarray, pd.Series)):
                raise ValueError(f"column {name!r} is {_form_of(cells)}, not a list of its cells")
        lengths = {name: len(cells) for name, cells in rows.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"its columns differ in length ({listed})")
        return pd.DataFrame({name: list(cells) for name, cells in rows.items()})
    raise ValueError(f"is {_form_of(rows)}, not a table")


def _form_of(value: Any) -> str:
    words = {str: "text", dict: "an object", list: "a list", bool: "true or false"}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "a number"
    return words.get(type(value), type(value).__name__)
