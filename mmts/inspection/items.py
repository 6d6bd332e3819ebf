"""Whose rows are whose: the column that tells items apart, and rows that nothing tells apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.errors import DataError
from mmts.inspection.columns import Column
from mmts.inspection.rhythm import Rhythm, length_of, measure_rhythm

_ITEM_NAME = re.compile(
    r"item|(^|[^a-z])(id|name|key)$|site|station|region|country|store|shop|sensor|device|meter|"
    r"plant|airport|location|place|city|state|series|symbol|ticker|product|sku|customer",
    re.IGNORECASE,
)
_PART_NAME = re.compile(
    r"^(year|month|week|day|hour|hr|time|minute|uhrzeit|stunde)s?$", re.IGNORECASE
)
_CALENDAR_NAME = re.compile(r"year|month|week|day|hour|quarter|season|shift", re.IGNORECASE)
_CLOCK = r"([01]?\d|2[0-4])[:.h][0-5]\d([:.][0-5]\d)?(\s?[AaPp][Mm])?"

_MOST_ITEMS = 0.5
"""Distinct names per row up to which a column can tell items apart."""

_MANY = 0.05
"""Share of rows above which those that share item and time are no slips of the file."""

_MOST_LEFT = 0.75
"""Share of the rows that share their time which may go on doing so with a part of it beside; there
may be items as well."""

_MOST_GROWTH = 1.5
"""Places per row up to which the rows of each name make a series of their own. A state that
changes from row to row, as the weather does, leaves most places to the other states."""


@dataclass(frozen=True)
class Rows:
    """What is known of the rows of a file when items are looked for.

    cells, columns: as they stand, and as they were read. moments: (row,) int64 microseconds, None
    in a file without times. is_partial: whether the file goes on behind these rows.
    """

    cells: pd.DataFrame
    columns: dict[str, Column]
    moments: npt.NDArray[np.int64] | None
    is_partial: bool = False

    def codes_of(self, *names: str) -> npt.NDArray[np.int64]:
        """Return the place of each row's names among the different ones, (row,)."""
        groups = self.cells.groupby(list(names), sort=False, dropna=False)
        codes: npt.NDArray[np.int64] = groups.ngroup().to_numpy().astype(np.int64)
        return codes

    def rhythm_by(self, *names: str) -> Rhythm:
        """Measure the rows where each name, or each pair of names, is an item."""
        assert self.moments is not None
        return measure_rhythm(self.moments, self.codes_of(*names) if names else None)


def is_item_name(name: str) -> bool:
    """Whether a column is named as one that tells items apart."""
    return _ITEM_NAME.search(name) is not None


def _unlike_item(name: str) -> bool:
    return not is_item_name(name)


def find_item(rows: Rows) -> str | None:
    """Return the column without which rows would share their time, or None.

    In a file without times it is the one that has another name in each row.
    """
    cells = rows.cells
    names = [name for name in cells.columns if name in rows.columns]
    if rows.moments is None:
        unique = [n for n in names if cells[n].is_unique and cells[n].notna().all()]
        words = [n for n in unique if rows.columns[n].values is None]
        return min(words or unique, key=_unlike_item, default=None)
    whole = rows.rhythm_by()
    chosen = _tells_apart(rows, whole) if whole.num_repeated else _makes_coarser(rows, whole)
    if chosen is None and rows.is_partial:
        # Of a file that is sorted by items, the first rows may hold one alone.
        alone = (n for n in names if cells[n].nunique() == 1 and cells[n].notna().all())
        chosen = next(filter(is_item_name, alone), None)
    return chosen


def _tells_apart(rows: Rows, whole: Rhythm) -> str | None:
    """Return the column that tells rows of one time apart, and names an item."""
    num_rows = len(rows.cells)
    before = whole.num_repeated / num_rows
    candidates = [name for name in _candidates(rows) if _keeps_rhythm(rows, name, whole)]
    if not candidates:
        return None

    def merit(name: str) -> tuple[float, bool, bool, int]:
        left = rows.rhythm_by(name).num_repeated / num_rows
        is_number = rows.columns[name].values is not None
        return round(left, 3), _unlike_item(name), is_number, rows.cells[name].nunique()

    chosen = min(candidates, key=merit)
    left = merit(chosen)[0]
    # A few rows that come twice are faults of the file, unless a column is named as an item.
    is_told = before > _MANY or (left == 0 and is_item_name(chosen))
    return chosen if is_told and left < 0.5 * before else None


def _makes_coarser(rows: Rows, whole: Rhythm) -> str | None:
    """Return the column of items whose rows never share a time, such as sites read in turn.

    Together they would be one series, of a rhythm that none of them has.
    """
    for name in _candidates(rows):
        if not is_item_name(name) or _CALENDAR_NAME.search(name):
            continue
        own = rows.rhythm_by(name)
        if own.period is None or own.num_places > _MOST_GROWTH * own.num_rows:
            continue
        if whole.period is None or length_of(own.period) > length_of(whole.period):
            return name
    return None


def _keeps_rhythm(rows: Rows, name: str, whole: Rhythm) -> bool:
    """Tell whether the rows of each name make a series, if all rows together do.

    The weather of an hour that has two rows tells them apart as well, and names no item.
    """
    if is_item_name(name) or whole.period is None:
        return True
    return _is_series(rows.rhythm_by(name))


def _is_series(rhythm: Rhythm) -> bool:
    return rhythm.period is not None and rhythm.num_places <= _MOST_GROWTH * rhythm.num_rows


def _candidates(rows: Rows, with_numbers: bool = False) -> list[str]:
    """Return the columns without gaps that hold a few names.

    with_numbers: whether numbers may be names where the column is not called so.
    """
    cells = rows.cells
    return [
        name
        for name, column in rows.columns.items()
        if name in cells.columns
        and not _PART_NAME.match(name)
        and cells[name].notna().all()
        and 1 < cells[name].nunique() <= _MOST_ITEMS * len(cells)
        and (column.values is None or is_item_name(name) or with_numbers)
        and not _is_clock(cells[name])
    ]


def _is_clock(cells: pd.Series) -> bool:
    """Tell whether a column holds times of day."""
    filled = cells.dropna().drop_duplicates()
    clocks = filled[filled.str.fullmatch(_CLOCK)]
    # With a dot these may be decimals as well: 12.30 alone is no time of day.
    is_told = clocks.str.contains("[:hApP]").any() or (clocks.str.count(r"\.") == 2).any()
    return len(filled) > 0 and len(clocks) == len(filled) and bool(is_told)


def require_one_series(rows: Rows, where: str, item: str | None, rhythm: Rhythm) -> None:
    """Raise DataError where many rows share item and time, and what is known of them tells why.

    where: file and column of the times. item: the column that was found; rhythm: with it.
    """
    share = rhythm.num_repeated / rhythm.num_rows
    kept = [column for column in rows.columns.values() if column.kind != "left out"]
    if share < _MANY or all(column.kind == "text" for column in kept):
        return
    where = f"{where}: {share:.0%} of the rows share their time with another"
    parts = _parts_of_time(rows, item, rhythm)
    if parts:
        named = ", ".join(map(repr, parts))
        raise DataError(
            f"{where}, and {named} hold{'s' * (len(parts) == 1)} parts of it. Write all into one "
            "column, such as 2013-10-01 14:00."
        )
    for name in _telling(rows, item, rhythm):
        if item is not None:
            raise DataError(_words_of_pair(where, item, name))
        raise DataError(
            f"{where}, and {name!r} tells them apart. If it names the item, call the column "
            f"'{name}_id', so that it is taken for one; if not, write one row per time."
        )
    if share <= 0.5:
        return
    for one, other in combinations(_candidates(rows), 2):
        if rows.rhythm_by(one, other).num_repeated < _MANY * rhythm.num_rows:
            raise DataError(_words_of_pair(where, one, other))
    raise DataError(f"{where}, and no column tells them apart. Add a column that names the item.")


def _words_of_pair(where: str, one: str, other: str) -> str:
    return (
        f"{where}; {one!r} and {other!r} tell them apart only together. Write both into one "
        "column, which names the item."
    )


def _parts_of_time(rows: Rows, item: str | None, rhythm: Rhythm) -> list[str]:
    """Return the columns that hold what the time lacks: an hour, a time of day.

    Where they tell no rows of one time apart, they only repeat a part of it.
    """
    parts = [
        name
        for name in rows.columns
        if name in rows.cells.columns and (_PART_NAME.match(name) or _is_clock(rows.cells[name]))
    ]
    names = parts if item is None else [item, *parts]
    left = rows.rhythm_by(*names).num_repeated if parts else rhythm.num_repeated
    return parts if left < _MOST_LEFT * rhythm.num_repeated else []


def _telling(rows: Rows, item: str | None, rhythm: Rhythm) -> Iterator[str]:
    """Yield the columns that tell rows apart which share time and item, and make series."""
    for name in _candidates(rows, with_numbers=True):
        own = rows.rhythm_by(name) if item is None else rows.rhythm_by(item, name)
        if own.num_repeated < 0.1 * rhythm.num_repeated and _is_series(own):
            yield name
