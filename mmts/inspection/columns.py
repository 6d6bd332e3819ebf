"""What a column holds: numbers, names, yes and no, prose, or nothing to learn from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.inspection.numbers import NumberStyle, has_unit, read_numbers

Kind = Literal["number", "category", "flag", "text", "left out"]

_FLAGS = ({"true", "false"}, {"yes", "no"}, {"on", "off"})
_PREDICTION = re.compile(
    r"(^|[^a-z])(preds?|predictions?|predicted|y_?hat|fitted|lear|dnn)([^a-z]|$)", re.IGNORECASE
)
_ID = re.compile(r"(^|[^a-z])(id|uuid|guid|index|key|no|nr|row)$|Id$|ID$")
_CODE = re.compile(r"(^|[^a-z])(code|type|class|kind|category|state|status)$", re.IGNORECASE)

_MOST_NAMES = 64
"""Names above which a category is hashed."""

COUNTS_ROWS = "counts the rows"
"""Reason for which a column is left out; the calendar may be the better one."""

_MOST_CODES = 50
_PROSE_WORDS, _PROSE_LETTERS = 4, 25


@dataclass(frozen=True)
class Column:
    """One column of values.

    why: for a column left out the reason, else what is odd about it. empty: share of cells
    without a value. words, sentinels: what stands for no value, with counts.
    buckets: into how many places very many names are hashed. values: (row,) of numbers.
    """

    name: str
    kind: Kind
    why: str = ""
    empty: float = 0.0
    words: dict[str, int] = field(default_factory=dict)
    sentinels: dict[float, int] = field(default_factory=dict)
    buckets: int | None = None
    values: npt.NDArray[np.float64] | None = None

    def but(self, why: str) -> Column:
        """Return the column left out, for a reason."""
        return Column(self.name, "left out", why, self.empty, values=self.values)


def read_column(name: str, cells: pd.Series, style: NumberStyle) -> Column:
    """Find out what a column holds that is neither time nor item."""
    empty = float(cells.isna().mean())
    filled = cells.dropna()
    num_distinct = int(filled.nunique())
    if not name:
        return Column("(no name)", "left out", "it has no name")
    if filled.empty:
        return Column(name, "left out", "no value at all", 1.0)
    if _PREDICTION.search(name):
        return Column(name, "left out", "named as a prediction by others", empty)
    if num_distinct == 1:
        return Column(name, "left out", f"always {filled.iloc[0]}", empty)
    kinds = filled.str.lower()
    if any(set(kinds.unique()) == flag for flag in _FLAGS):
        return Column(name, "flag", "", empty)
    numbers = read_numbers(cells, style)
    if numbers is None:
        return _read_words(name, filled, empty, num_distinct, style)
    values = numbers.values
    observed = values[np.isfinite(values)]
    missing = float(1 - len(observed) / len(cells))
    found = Column(name, "number", "", missing, numbers.words, numbers.sentinels, values=values)
    distinct = np.unique(observed)
    if len(distinct) == 1:
        return found.but(f"always {distinct[0]:g} where it has a value")
    whole = bool((observed == np.floor(observed)).all())
    if whole and len(observed) > 2 and _counts_rows(values):
        return found.but(COUNTS_ROWS)
    if whole and _ID.search(name) and len(distinct) == len(observed):
        return found.but("another number in each row")
    # A reader of flags takes no other way to write them, such as 1,0 or 1.00.
    is_flag = set(filled.unique()) - set(numbers.words) <= {"0", "1", "0.0", "1.0"}
    if set(distinct) == {0.0, 1.0} and is_flag and not numbers.sentinels:
        return Column(name, "flag", "0 and 1", missing, numbers.words, values=values)
    if whole and _CODE.search(name) and 2 < len(distinct) <= _MOST_CODES:
        why = f"{len(distinct)} codes"
        return Column(name, "category", why, missing, numbers.words, numbers.sentinels)
    return found


def _counts_rows(values: npt.NDArray[np.float64]) -> bool:
    """Whether a column goes up by one from row to row, perhaps anew for each item."""
    steps = np.diff(values)
    return bool(np.isfinite(values).all() and (steps == 1).mean() > 0.9 and steps.max() == 1)


def _read_words(
    name: str, filled: pd.Series, empty: float, num_distinct: int, style: NumberStyle
) -> Column:
    if has_unit(filled, style):
        return Column(
            name, "left out", f"numbers with a unit, such as {filled.iloc[0]}; write them plain",
            empty,
        )  # fmt: skip
    sample = filled.iloc[:: max(1, len(filled) // 500)]
    words = float(sample.str.count(r"\S+").mean())
    letters = float(sample.str.len().mean())
    if words >= _PROSE_WORDS and letters >= _PROSE_LETTERS and num_distinct > 0.1 * len(filled):
        return Column(name, "text", f"{words:.0f} words in the mean", empty)
    numbers = style.parse(filled)
    share = float(np.isfinite(numbers).mean())
    if share > 0.5 and len(np.unique(numbers[np.isfinite(numbers)])) > 9:
        odd = filled[~np.isfinite(numbers)].iloc[0]
        why = f"numbers, but {1 - share:.0%} of its cells are none, such as {odd!r}"
        return Column(name, "left out", why, empty)
    if num_distinct > 0.5 * len(filled) and num_distinct > 20:
        return Column(name, "left out", "another word in nearly each row", empty)
    if num_distinct > _MOST_NAMES:
        buckets = 1 << int(np.ceil(np.log2(num_distinct)) - 1)
        buckets = min(1024, max(_MOST_NAMES, buckets))
        return Column(name, "category", f"{num_distinct:,} names", empty, buckets=buckets)
    return Column(name, "category", f"{num_distinct} names", empty)


def tell_calendar(
    name: str, values: npt.NDArray[np.float64], times: npt.NDArray[np.int64]
) -> str | None:
    """Return what a column repeats of its row's own time, or None.

    values: (row,). times: (row,) int64 microseconds.
    """
    stamps = pd.DatetimeIndex(times.astype("datetime64[us]"))
    parts = {
        "year": (stamps.year,),
        "month": (stamps.month,),
        "week": (stamps.isocalendar().week,),
        "day": (stamps.day, stamps.day_of_year, stamps.day_of_week, stamps.day_of_week + 1),
        "dow": (stamps.day_of_week, stamps.day_of_week + 1),
        "hour": (stamps.hour, stamps.hour + 1),
        "minute": (stamps.minute,),
        "quarter": (stamps.quarter,),
    }
    known = np.isfinite(values)
    for word, readings in parts.items():
        if word not in name.lower() or not known.any():
            continue
        # Weeks are counted from different days in different countries.
        slack = 1 if word == "week" else 0
        for reading in readings:
            differs = np.abs(values - np.asarray(reading, dtype=np.float64))[known]
            if (differs <= slack).mean() > 0.9:
                return f"the {word} of the time, which the calendar tells"
    return None
