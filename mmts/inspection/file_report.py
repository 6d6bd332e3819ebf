"""One file looked at: its times, whose rows they are, its rhythm and what its columns hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.errors import DataError
from mmts.inspection.columns import COUNTS_ROWS, Column, read_column, tell_calendar
from mmts.inspection.numbers import NumberStyle, find_number_style
from mmts.inspection.raw_table import RawTable, read_raw_table
from mmts.inspection.rhythm import Rhythm, measure_rhythm
from mmts.inspection.times import AmbiguousTimes, Times, faulty_rows, is_time_name, read_times

_ITEM_NAME = re.compile(
    r"item|(^|[^a-z])(id|name|key)$|site|station|region|country|store|shop|sensor|device|meter|"
    r"plant|airport|location|place|city|state|series|symbol|ticker|product|sku|customer",
    re.IGNORECASE,
)
_MAIN_TIME = re.compile(r"^(date|time|timestamp|date_?time|ds|datum)$", re.IGNORECASE)
_END_NAME = re.compile(r"(^|[^a-z])(end|until|to|till)([^a-z]|$)", re.IGNORECASE)
_KNOWN_NAME = re.compile(r"publish|release|avail|issue|received|reported", re.IGNORECASE)
_PART_NAME = re.compile(r"^(year|month|day|hour|hr|time|minute|uhrzeit|stunde)s?$", re.IGNORECASE)

_MOST_ITEMS = 0.5
"""Distinct names per row up to which a column can tell items apart."""


@dataclass
class FileReport:
    """What was found in one file.

    codes: (row,) int64, place of each row's item in `items`. other_times: columns of times that
    are not the one of the rows. available_at: one of them that tells when a row was known.
    ambiguous: columns of which nobody can tell how their times are written.
    """

    table: RawTable
    style: NumberStyle
    time: str | None = None
    times: Times | None = None
    rhythm: Rhythm | None = None
    item: str | None = None
    items: tuple[str, ...] = ()
    codes: npt.NDArray[np.int64] | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    other_times: dict[str, Times] = field(default_factory=dict)
    available_at: str | None = None
    ambiguous: dict[str, AmbiguousTimes] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.table.path

    @property
    def num_rows(self) -> int:
        """How many rows were looked at."""
        return len(self.table.cells)

    @property
    def kept(self) -> list[Column]:
        """The columns that a model can learn from."""
        return [column for column in self.columns.values() if column.kind != "left out"]

    def set_item(self, name: str | None) -> None:
        """Take a column as the one that tells items apart, and measure the rows anew."""
        self.item, self.items, self.codes = name, (), None
        if name is not None:
            codes, words = pd.factorize(self.table.cells[name], sort=True)
            self.codes, self.items = codes.astype(np.int64), tuple(str(word) for word in words)
            self.columns.pop(name, None)
        if self.times is not None:
            self.rhythm = measure_rhythm(self.times.moments, self.codes)

    def last_value(self, column: Column) -> int:
        """Return the time of the last row that has a value of a column, int64 microseconds."""
        assert self.times is not None
        cells = self.table.cells[column.name].notna().to_numpy()
        known = np.isfinite(column.values) if column.values is not None else cells
        return int(self.times.moments[known].max())


def inspect_file(path: Path, formats: tuple[str, ...] = ()) -> FileReport:
    """Look at one file.

    formats: how times may be written, as the user says. Raises DataError where the file is no
    table, and where its times cannot be told.
    """
    table = read_raw_table(path)
    cells = table.cells
    style = find_number_style([cells.iloc[:, n] for n in range(cells.shape[1])], table.delimiter)
    report = FileReport(table, style)
    candidates: dict[str, Times] = {}
    for place, name in enumerate(cells.columns):
        found = read_times(cells.iloc[:, place], name, formats) if name else None
        if isinstance(found, Times):
            candidates[name] = found
        elif isinstance(found, AmbiguousTimes):
            report.ambiguous[name] = found
    # A year, or a count of seconds, may be a value as well; it is a time where nothing else is.
    report.time = _choose_time(candidates)
    if report.time is None and report.ambiguous:
        raise DataError("\n".join(_words_of(path, report.ambiguous)))
    if report.time is not None:
        report.times = candidates.pop(report.time)
        _require_every_time(report)
        is_value = {n for n, t in candidates.items() if t.format is not None and not _is_date(t)}
        report.other_times = {n: t for n, t in candidates.items() if n not in is_value}
        report.available_at = _find_available_at(report)
    keys = {report.time, *report.other_times, *report.ambiguous}
    for place, name in enumerate(cells.columns):
        if name not in keys or not name:
            column = read_column(name, cells.iloc[:, place], style)
            report.columns[column.name] = column
    report.set_item(_find_item(report))
    if report.times is not None:
        _require_one_series(report)
        _leave_out_calendar(report, report.times)
    return report


def _words_of(path: Path, ambiguous: dict[str, AmbiguousTimes]) -> list[str]:
    return [
        f"{path}, column {name!r}: nobody can say whether the day or the month comes first, as in "
        f"{times.example}. Decide: --time-format {times.formats[0]!r} or {times.formats[1]!r}."
        for name, times in ambiguous.items()
    ]


def _is_date(times: Times) -> bool:
    return times.format not in ("%Y", "unix_s", "unix_ms", "unix_us")


def _choose_time(candidates: dict[str, Times]) -> str | None:
    """Return the column whose times are told apart best, stand on a grid, and are named so."""

    def merit(place: int) -> tuple[float, ...]:
        name, times = list(candidates.items())[place]
        moments = times.moments[times.valid]
        rhythm = measure_rhythm(moments, None)
        repeated = round(rhythm.num_repeated / len(moments), 1)
        return (
            float(times.valid.mean() < 0.9),
            float(_END_NAME.search(name) is not None or _KNOWN_NAME.search(name) is not None),
            repeated,
            float(rhythm.period is None),
            float(_MAIN_TIME.match(name) is None),
            float(times.format is not None),
            float(not is_time_name(name)),
            float(place),
        )

    return min(((merit(place), name) for place, name in enumerate(candidates)), default=((), None))[
        1
    ]


def _require_every_time(report: FileReport) -> None:
    assert report.time is not None and report.times is not None
    faulty = list(faulty_rows(report.table.cells[report.time], report.times))
    if faulty:
        row, cell = faulty[0]
        said = "the time is empty" if cell is None else f"{cell!r} is no time as the others are"
        more = f" (and {len(faulty) - 1} more rows)" if len(faulty) > 1 else ""
        raise DataError(
            f"{report.path}, row {row}, column {report.time!r}: {said}{more}. "
            "Correct it, or take out the row."
        )


def _find_available_at(report: FileReport) -> str | None:
    """Return a column that tells when a row was known: never before its own time, often later."""
    assert report.times is not None
    for pattern in (_KNOWN_NAME, _END_NAME):
        for name, times in report.other_times.items():
            is_later = times.valid.all() and (times.moments >= report.times.moments).all()
            alike = times.format == report.times.format
            if pattern.search(name) and alike and is_later:
                return name
    return None


def _find_item(report: FileReport) -> str | None:
    """Return the column without which rows would share their time, or None.

    In a file without times it is the one that has another name in each row.
    """
    cells = report.table.cells
    names = [name for name in cells.columns if name in report.columns]
    if report.times is None:
        unique = [n for n in names if cells[n].is_unique and cells[n].notna().all()]
        words = [n for n in unique if report.columns[n].values is None]
        return min(words or unique, key=_unlike_item, default=None)
    moments = report.times.moments
    whole = measure_rhythm(moments, None)
    if whole.num_repeated == 0:
        return None
    before = whole.num_repeated / report.num_rows
    candidates = [name for name in _item_candidates(report) if _keeps_rhythm(report, name, whole)]
    if not candidates:
        return None

    def merit(name: str) -> tuple[float, bool, bool, int]:
        codes = pd.factorize(cells[name])[0].astype(np.int64)
        left = measure_rhythm(moments, codes).num_repeated / len(cells)
        is_number = report.columns[name].values is not None
        return round(left, 3), _unlike_item(name), is_number, int(codes.max())

    chosen = min(candidates, key=merit)
    left = merit(chosen)[0]
    # A few rows that come twice are faults of the file, unless a column is named as an item.
    is_told = before > 0.05 or (left == 0 and is_item_name(chosen))
    return chosen if is_told and left < 0.5 * before else None


def _keeps_rhythm(report: FileReport, name: str, whole: Rhythm) -> bool:
    """Tell whether the rows of each name stand on a grid, if all rows together do.

    The weather of an hour that has two rows tells them apart as well, and names no item.
    """
    if is_item_name(name) or whole.period is None:
        return True
    assert report.times is not None
    codes = pd.factorize(report.table.cells[name])[0].astype(np.int64)
    return measure_rhythm(report.times.moments, codes).period is not None


def _item_candidates(report: FileReport) -> list[str]:
    """Return the columns without gaps that hold a few names."""
    cells = report.table.cells
    return [
        name
        for name, column in report.columns.items()
        if name in cells.columns
        and not _PART_NAME.match(name)
        and cells[name].notna().all()
        and 1 < cells[name].nunique() <= _MOST_ITEMS * len(cells)
        and (column.values is None or is_item_name(name))
    ]


def is_known_name(name: str | None) -> bool:
    """Whether a column is named as one that tells when something was published."""
    return name is not None and _KNOWN_NAME.search(name) is not None


def is_item_name(name: str) -> bool:
    """Whether a column is named as one that tells items apart."""
    return _ITEM_NAME.search(name) is not None


def _unlike_item(name: str) -> bool:
    return not is_item_name(name)


def _require_one_series(report: FileReport) -> None:
    assert report.rhythm is not None and report.times is not None
    share = report.rhythm.num_repeated / report.num_rows
    if share <= 0.5 or all(column.kind == "text" for column in report.kept):
        return
    cells = report.table.cells
    where = f"{report.path}, column {report.time!r}: {share:.0%} of the rows share their time with"
    parts = [name for name in cells.columns if _PART_NAME.match(name) and name != report.time]
    if parts:
        raise DataError(
            f"{where} another, and {', '.join(map(repr, parts))} hold parts of it. Write all into "
            "one column, such as 2013-10-01 14:00."
        )
    for one, other in combinations(_item_candidates(report), 2):
        both = cells[one] + " " + cells[other]
        codes = pd.factorize(both)[0].astype(np.int64)
        if measure_rhythm(report.times.moments, codes).num_repeated < 0.05 * len(cells):
            raise DataError(
                f"{where} another; {one!r} and {other!r} tell them apart only together. Write "
                "both into one column, which names the item."
            )
    raise DataError(
        f"{where} another, and no column tells them apart. Add a column that names the item."
    )


def _leave_out_calendar(report: FileReport, times: Times) -> None:
    for name, column in report.columns.items():
        if column.kind == "left out" and column.why != COUNTS_ROWS:
            continue
        values = column.values
        told = None if values is None else tell_calendar(name, values, times.moments)
        if told is not None:
            report.columns[name] = column.but(told)
