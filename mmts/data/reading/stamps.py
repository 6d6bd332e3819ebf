"""Cells that hold times, read chunk by chunk: int64 microseconds.

Times are UTC where the cells state an offset, and otherwise as they are written, until zones
turns them into UTC. What is read without being told: ISO 8601, and the year first with other
marks between, since neither can be misunderstood.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from mmts.data.clock import DAY
from mmts.data.config import ReadingConfig
from mmts.data.reading.cells import NumberReader, is_time_like, plain_values
from mmts.data.reading.faults import Faults, Rows
from mmts.data.reading.formats import epoch_of, formats_of, is_pattern, parse_format
from mmts.data.reading.iso_times import (
    YEAR_FIRST,
    Flags,
    Times,
    as_utc,
    microseconds,
    parse_iso,
    parse_quickly,
    to_iso,
)
from mmts.data.reading.sinks import ColumnSink, MemorySinks
from mmts.data.reading.zones import FIRST_TIME, LAST_TIME
from mmts.errors import DataError

UNIX = {"unix_s": 1_000_000, "unix_ms": 1_000, "unix_us": 1}
"""Microseconds of one step of each format that counts since 1970, in UTC."""

_LONGEST = 200
"""Characters of a time at most."""
_WRITE = "Write it as 2013-10-01 14:00."
_DATE = re.compile(r"\d{4}(?:([-/. ]?)\d{1,2}(\1\d{1,2})?)?", re.ASCII)
_MIDNIGHT = re.compile(r"24:00(:00(\.0+)?)?")
_LEAP_SECOND = re.compile(r":60(\.0+)?\b")
_YEAR = re.compile(r"\d{4}|\d{8}")


class StampReader:
    """Times of one column.

    has_offset: whether the cells state one, or count since 1970; None before the first chunk.
    are_dates: whether all came as datetimes of a data frame and lie at midnight.
    to_end: whether a date without a time of day counts from the end of that day; num_ended: how
    many did; num_timed: how many others there were.
    """

    def __init__(
        self, column: str, reading: ReadingConfig, sink: ColumnSink, *, to_end: bool = False
    ) -> None:
        self.has_offset: bool | None = None
        self.are_dates = True
        self.num_ended = self.num_timed = 0
        self._column = column
        self._pattern = reading.time_format
        self._sink = sink
        self._to_end = to_end
        self._in_zone = reading.time_zone is not None
        self._foreign: tuple[Rows, int, str, int] | None = None
        self._fitting: dict[str, int] = {}
        self._misfit: tuple[Rows, int, str, int] | None = None
        self._first: str | None = None
        self._epochs = None
        if self._pattern in UNIX:
            plain = reading.model_copy(update={"missing_values": (), "valid_range": {}})
            self._epochs = NumberReader(column, plain, MemorySinks().open("", np.float64))
        elif self._pattern is not None and not is_pattern(self._pattern):
            raise DataError(
                f"time_format {self._pattern!r} is no way to write a date. Write one such as "
                "'%d.%m.%Y %H:%M' (offsets by %z, and not %Z), or unix_s, unix_ms or unix_us."
            )

    def add(self, cells: pd.Series, rows: Rows, faults: Faults) -> None:
        """Read the cells of a chunk."""
        cells = plain_values(cells)
        if is_time_like(cells.dtype):
            self._append(self._read_datetimes(cells, rows, faults), rows, faults)
            return
        self.are_dates = False
        if self._epochs is not None:
            self._append(self._read_epochs(cells, rows, faults), rows, faults)
            return
        if self._pattern is None and not self._to_end and self._foreign is None:
            times = parse_quickly(cells)
            if times is not None:
                self._note_offsets(np.zeros(len(times), dtype=bool), rows, cells, faults)
                self._append(times, rows, faults)
                return
        text = _as_text(cells)
        missing = text.isna().to_numpy()
        faults.add_mask(rows, missing, self._column, "the time is empty", _WRITE, "empty")
        names = (text == self._column).fillna(False).to_numpy(dtype=bool)
        for row in np.flatnonzero(names):
            faults.add_header(rows, int(row))
        missing = missing | names
        if self._pattern is not None:
            parsed = parse_format(text, self._pattern)
            bad = parsed.isna().to_numpy() & ~missing
            self._note(
                bad, text, rows, faults, f"is not written as {self._pattern!r}",
                "Correct it, or time_format of the stream.",
            )  # fmt: skip
            self._set_offset("%z" in self._pattern, rows, 0, text, faults)
            times = microseconds(parsed)
            self._append(self._end_of_days(times, text, rows, faults), rows, faults)
            return
        self._append(self._read_plain(text, missing, rows, faults), rows, faults)

    def finish(self, faults: Faults) -> None:
        """Say, when all chunks are read, what time_format would fit the cells."""
        if self._foreign is None:
            return
        rows, row, cell, count = self._foreign
        said = f"{cell!r} is not an ISO 8601 time"
        # Patterns that read all rows alike are one.
        told_apart = {digest: p for p, digest in reversed(self._fitting.items())}
        patterns = [p for p in self._fitting if p in told_apart.values()]
        if len(patterns) == 1:
            remedy = f"Set time_format: '{patterns[0]}' for the stream, which fits all rows."
        elif patterns:
            said += ", and from these rows nobody can tell day from month"
            formats = " or ".join(f"'{pattern}'" for pattern in patterns[:2])
            remedy = f"Set time_format: {formats} for the stream, whichever it is."
        else:
            assert self._misfit is not None
            rows, row, other, count = self._misfit
            said = f"{other!r} is not written as the rows before it ({cell!r})"
            remedy = "Write all times alike."
        faults.add(rows, row, count, self._column, said, remedy, "time")

    def _append(self, times: Times, rows: Rows, faults: Faults) -> None:
        """Hand times on that lie within the calendar."""
        # Somewhere on Earth the calendar ends a day earlier, and a date may yet become its end.
        margin = 2 * DAY if self._to_end else DAY if self._in_zone or self.has_offset else 0
        first, last = FIRST_TIME + margin, LAST_TIME - margin
        if self._to_end:
            # By such a time one writes that a row is never known, or always was.
            times = np.clip(times, first, last)
        outside = (times < first) | (times > last)
        faults.add_mask(
            rows, outside, self._column, "the time lies beyond the calendar", "Correct it.", "far",
        )  # fmt: skip
        self._sink.append(np.where(outside, 0, times))

    def _read_datetimes(self, cells: pd.Series, rows: Rows, faults: Faults) -> Times:
        if pd.api.types.is_timedelta64_dtype(cells.dtype):
            faults.add(
                rows, 0, len(cells), self._column, "holds stretches of time, not times", _WRITE,
                "time",
            )  # fmt: skip
            return np.zeros(len(cells), dtype=np.int64)
        missing = cells.isna().to_numpy()
        faults.add_mask(rows, missing, self._column, "the time is empty", _WRITE, "empty")
        has_zone = isinstance(cells.dtype, pd.DatetimeTZDtype)
        self._set_offset(has_zone, rows, 0, cells, faults)
        times = microseconds(cells)
        self.are_dates &= not has_zone and not (times % DAY).any()
        return times

    def _read_epochs(self, cells: pd.Series, rows: Rows, faults: Faults) -> Times:
        assert self._epochs is not None and self._pattern is not None
        self.has_offset = True
        values = self._epochs.read(cells, rows, faults)
        written = cells.to_numpy(dtype=object)
        missing = np.isnan(values) & [c != c or not str(c).strip() for c in written]
        faults.add_mask(rows, missing, self._column, "the time is empty", "Fill it in.", "empty")
        # Up to the year 5138 for seconds, and 2255 for microseconds, floats hold whole units.
        with np.errstate(over="ignore"):
            micros = np.nan_to_num(values) * UNIX[self._pattern]
        outside = np.abs(micros) > 9e15
        faults.add_mask(
            rows, outside, self._column, f"the number is no time in {self._pattern}",
            "Correct it, or time_format of the stream.", "epoch",
        )  # fmt: skip
        return np.rint(np.where(outside, 0.0, micros)).astype(np.int64)

    def _read_plain(self, text: pd.Series, missing: Flags, rows: Rows, faults: Faults) -> Times:
        if self._foreign is not None:
            self._try_formats(text, missing, rows)
            return np.zeros(len(text), dtype=np.int64)
        parsed, offsets = parse_iso(text)
        bad = parsed.isna().to_numpy() & ~missing
        if bad.any():
            parsed, offsets, bad = self._parse_again(text, parsed, offsets, bad)
        good = ~bad & ~missing
        if bad.any() and self._first is None and not good[: int(bad.argmax())].any():
            cell = text.iloc[int(bad.argmax())].strip()
            if self._is_foreign(cell):
                self._foreign = (rows, int(bad.argmax()), cell, 0)
                self._fitting = dict.fromkeys(formats_of(cell), 0)
                self._try_formats(text, missing, rows)
                return np.zeros(len(text), dtype=np.int64)
        self._note(bad, text, rows, faults, *self._said_of(bad, good, text))
        if good.any():
            self._note_offsets(offsets, rows, text, faults, good)
        return self._end_of_days(microseconds(parsed), text, rows, faults)

    def _parse_again(
        self, text: pd.Series, parsed: pd.Series, offsets: Flags, bad: Flags
    ) -> tuple[pd.Series, Flags, Flags]:
        """Read with other marks what is not quite ISO 8601, such as a second blank."""
        again = text[bad].map(to_iso)
        more, more_offsets = parse_iso(again)
        offsets = offsets.copy()
        offsets[bad] = more_offsets
        parsed = as_utc(parsed)
        parsed.loc[bad] = as_utc(more).to_numpy()
        return parsed, offsets, parsed.isna().to_numpy() & bad

    @staticmethod
    def _is_foreign(cell: str) -> bool:
        special = _MIDNIGHT.search(cell) or _LEAP_SECOND.search(cell)
        return not special and epoch_of(cell) is None and bool(formats_of(cell))

    def _try_formats(self, text: pd.Series, missing: Flags, rows: Rows) -> None:
        """Keep of the patterns those that fit this chunk too, with what they make of it."""
        assert self._foreign is not None
        first_rows, row, cell, count = self._foreign
        self._foreign = (first_rows, row, cell, count + int((~missing).sum()))
        present = text[~missing].str.strip()
        parsed = {pattern: parse_format(present, pattern) for pattern in self._fitting}
        fits = {pattern: times.notna().to_numpy() for pattern, times in parsed.items()}
        if fits and not any(fit.all() for fit in fits.values()):
            # The row up to which the most patient of the patterns fits.
            best = max(fits.values(), key=lambda fit: int((~fit).argmax()))
            worst = int((~best).argmax())
            place = int(np.flatnonzero(~missing)[worst])
            self._misfit = (rows, place, str(present.iloc[worst]), int((~best).sum()))
        self._fitting = {
            pattern: hash((digest, microseconds(parsed[pattern]).tobytes()))
            for pattern, digest in self._fitting.items()
            if fits[pattern].all()
        }

    def _said_of(self, bad: Flags, good: Flags, text: pd.Series) -> tuple[str, str]:
        """Return what to say of the first bad cell, and the remedy."""
        if not bad.any():
            return "", ""
        cell = str(text.iloc[int(bad.argmax())]).strip()
        epoch = epoch_of(cell)
        if epoch is not None:
            return "is a number, not an ISO 8601 time", (
                f"Set time_format: {epoch} for the stream if it counts since 1970."
            )
        if _MIDNIGHT.search(cell):
            return "is no time: a day ends before 24:00", "Write it as 00:00 of the next day."
        if _LEAP_SECOND.search(cell):
            return "is a leap second, which has no place on the clock", (
                "Take the row out, or write it as the second before."
            )
        match = YEAR_FIRST.fullmatch(cell)
        if match is not None or _YEAR.fullmatch(cell):
            return "is no date of the calendar", "Correct it."
        if self._first is not None or good[: int(bad.argmax())].any():
            first = self._first or str(text.iloc[int(good.argmax())])
            return (
                f"is not an ISO 8601 time, as the rows before it are ({first!r})",
                "Write all times alike.",
            )
        if re.fullmatch(r"\d+(\.\d*)?", cell):
            return "is a number, not an ISO 8601 time", _WRITE
        return "is not an ISO 8601 time", _WRITE

    def _note(
        self, bad: Flags, text: pd.Series, rows: Rows, faults: Faults, said: str, remedy: str
    ) -> None:
        if bad.any():
            cell = text.iloc[int(bad.argmax())]
            faults.add_mask(rows, bad, self._column, f"{cell!r} {said}", remedy, "time")

    def _note_offsets(
        self, offsets: Flags, rows: Rows, text: pd.Series, faults: Faults,
        good: Flags | None = None,
    ) -> None:  # fmt: skip
        """Hold whether cells have offsets, (row,), against the cells before them."""
        good = np.ones(len(offsets), dtype=bool) if good is None else good
        first = int(good.argmax())
        if self._first is None:
            self._first = str(text.iloc[first])
        self._set_offset(bool(offsets[first]), rows, first, text, faults)
        unlike = good & (offsets != self.has_offset)
        if unlike.any():
            row = int(unlike.argmax())
            said = (
                f"{text.iloc[row]!r} has no UTC offset, while other rows have one"
                if self.has_offset
                else f"{text.iloc[row]!r} has a UTC offset, while other rows have none"
            )
            faults.add_mask(rows, unlike, self._column, said, "Write all times alike.", "offset")

    def _set_offset(
        self, has_offset: bool, rows: Rows, row: int, cells: pd.Series, faults: Faults
    ) -> None:
        if self.has_offset is None:
            self.has_offset = has_offset
        elif self.has_offset != has_offset and (self._pattern or is_time_like(cells.dtype)):
            said = "times with and without a time zone are mixed"
            faults.add(
                rows, row, len(cells), self._column, said, "Write all times alike.", "offset"
            )

    def _end_of_days(self, times: Times, text: pd.Series, rows: Rows, faults: Faults) -> Times:
        """Move dates without a time of day to their end, where that is asked for."""
        if not self._to_end:
            return times
        if self._pattern is not None:
            if re.search(r"%[HIMSfpcXT]", self._pattern):
                return times
            self.num_ended += len(times)
            return times + DAY
        dates = [_DATE.fullmatch(str(cell).strip()) for cell in text.to_numpy(dtype=object)]
        vague = np.array([d is not None and d[2] is None for d in dates], dtype=bool)
        faults.add_mask(
            rows, vague, self._column, "names no day", "Write it as 2013-10-01.", "vague"
        )
        is_date = np.array([d is not None for d in dates], dtype=bool)
        # Beyond the calendar it is a way to write that a row is never known.
        self.num_ended += int((is_date & (times < LAST_TIME - 2 * DAY)).sum())
        self.num_timed += int((~is_date).sum())
        return np.where(is_date, times + DAY, times)


def _as_text(cells: pd.Series) -> pd.Series:
    """Return cells as text; whole numbers of a data frame as a CSV file would hold them."""
    if isinstance(cells.dtype, pd.StringDtype):
        return cells.where(cells.str.strip() != "") if _has_blank(cells) else cells
    missing = cells.isna()
    written = [_write(cell) for cell in cells.to_numpy(dtype=object)]
    filled = ~missing & np.array([bool(cell.strip()) for cell in written], dtype=bool)
    return pd.Series(written, index=cells.index, dtype="string").where(filled)


def _has_blank(cells: pd.Series) -> bool:
    shortest = cells.str.len().min()
    return bool(shortest < 4)


def _write(cell: Any) -> str:
    if isinstance(cell, (float, np.floating)) and cell.is_integer():
        return str(int(cell))
    # Whatever else is so long, is no time; many rows may hold the same book.
    return str(cell)[:_LONGEST]
