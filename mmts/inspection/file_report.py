"""One file looked at: its times, whose rows they are, its rhythm and what its columns hold."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.errors import DataError
from mmts.inspection.columns import COUNTS_ROWS, Column, read_column, tell_calendar
from mmts.inspection.items import Rows, find_item, require_one_series
from mmts.inspection.number_marks import AmbiguousNumbers, Mark, find_number_style
from mmts.inspection.numbers import NumberStyle
from mmts.inspection.raw_table import RawTable, read_raw_table
from mmts.inspection.rhythm import Rhythm, measure_rhythm
from mmts.inspection.time_labels import tell_label
from mmts.inspection.times import AmbiguousTimes, Times, faulty_rows, is_time_name, read_times

_MAIN_TIME = re.compile(r"^(date|time|timestamp|date_?time|ds|datum)$", re.IGNORECASE)
_END_NAME = re.compile(r"(^|[^a-z])(end|until|to|till)([^a-z]|$)", re.IGNORECASE)
_KNOWN_NAME = re.compile(r"publish|release|avail|issue|received|reported", re.IGNORECASE)


@dataclass
class FileReport:
    """What was found in one file.

    codes: (row,) int64, place of each row's item in `items`. other_times: columns of times that
    are not the one of the rows. available_at: one of them that tells when a row was known.
    ambiguous: columns of which nobody can tell how their times are written. labels: columns of
    quarters, weeks or the like, which no time format reads, with what to do. unlike_known: a
    column that tells when a row was known, and is not written as the times are.
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
    labels: dict[str, str] = field(default_factory=dict)
    unlike_known: str | None = None

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


def inspect_file(
    path: Path, formats: tuple[str, ...] = (), decimal: Mark | None = None
) -> FileReport:
    """Look at one file.

    formats: how times may be written, as the user says; decimal: likewise the decimal mark.
    Raises DataError where the file is no table, and where its times or numbers cannot be told.
    """
    table = read_raw_table(path)
    report = FileReport(table, NumberStyle())
    candidates = _read_all_times(report, formats)
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
    report.style = _find_style(table, keys, decimal)
    for place, name in enumerate(table.cells.columns):
        if name not in keys or not name:
            column = read_column(name, table.cells.iloc[:, place], report.style)
            report.columns[column.name] = column
    for name, held in table.unread.items():
        report.columns[name] = Column(name, "left out", f"holds {held}, not one value to a cell")
    _tell_items(report)
    if report.times is not None:
        _leave_out_calendar(report, report.times)
    return report


def _read_all_times(report: FileReport, formats: tuple[str, ...]) -> dict[str, Times]:
    """Return the columns of times, and note those of which nobody can tell, and the likes."""
    found: dict[str, Times] = {}
    cells = report.table.cells
    for place, name in enumerate(cells.columns):
        times = read_times(cells.iloc[:, place], name, formats) if name else None
        if isinstance(times, Times):
            found[name] = times
        elif isinstance(times, AmbiguousTimes):
            report.ambiguous[name] = times
        elif name and (label := tell_label(cells.iloc[:, place], name)) is not None:
            report.labels[name] = label
    return found


def _find_style(table: RawTable, keys: Collection[str | None], decimal: Mark | None) -> NumberStyle:
    places = [n for n, name in enumerate(table.cells.columns) if name not in keys]
    columns = [table.cells.iloc[:, n] for n in places]
    found = find_number_style(columns, table.delimiter, decimal)
    if isinstance(found, AmbiguousNumbers):
        raise DataError(_words_of_numbers(table.path, found))
    return found


def _words_of_numbers(path: Path, found: AmbiguousNumbers) -> str:
    mark, other = (",", ".") if "," in found.cell else (".", ",")
    whole, decimals = found.cell.replace(mark, ""), found.cell.replace(mark, ".")
    return (
        f"{path}, column {found.column!r}: nobody can say whether {found.cell!r} is {whole} or "
        f"{decimals}{found.why}. Decide: --decimal {mark!r} where {mark!r} stands before decimals, "
        f"--decimal {other!r} where it parts thousands."
    )


def _tell_items(report: FileReport) -> None:
    """Find the item, and see to it that no two series are taken for one."""
    moments = None if report.times is None else report.times.moments
    rows = Rows(report.table.cells, report.columns, moments, report.table.is_partial)
    report.set_item(find_item(rows))
    if report.rhythm is not None:
        where = f"{report.path}, column {report.time!r}"
        require_one_series(rows, where, report.item, report.rhythm)


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
        place, cell = faulty[0]
        row = int(report.table.row_numbers[place])
        said = "the time is empty" if cell is None else f"{cell!r} is no time as the others are"
        more = f" (and {len(faulty) - 1} more rows)" if len(faulty) > 1 else ""
        remedy = "Correct it, or take out the row."
        if cell is not None and "24:00" in cell:
            remedy = "Write 24:00 as 00:00 of the next day."
        raise DataError(f"{report.path}, row {row}, column {report.time!r}: {said}{more}. {remedy}")


def _find_available_at(report: FileReport) -> str | None:
    """Return a column that tells when a row was known: never before its own time, often later."""
    assert report.times is not None
    for pattern in (_KNOWN_NAME, _END_NAME):
        for name, times in report.other_times.items():
            if not pattern.search(name) or not times.valid.all():
                continue
            own = report.times
            if (times.format, times.has_time_zone) != (own.format, own.has_time_zone):
                # One stream reads both in one way; what was known when must not go unsaid.
                if pattern is _KNOWN_NAME:
                    report.unlike_known = name
            elif (times.moments >= own.moments).all():
                return name
    return None


def is_known_name(name: str | None) -> bool:
    """Whether a column is named as one that tells when something was published."""
    return name is not None and _KNOWN_NAME.search(name) is not None


def _leave_out_calendar(report: FileReport, times: Times) -> None:
    for name, column in report.columns.items():
        if column.kind == "left out" and column.why != COUNTS_ROWS:
            continue
        values = column.values
        told = None if values is None else tell_calendar(name, values, times.moments)
        if told is not None:
            report.columns[name] = column.but(told)
