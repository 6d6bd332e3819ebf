"""Local times of a zone turned into UTC, over the days when its clock changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.reading.faults import Faults, RowBook
from mmts.data.times import format_times

Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Begin of the year 1, and end of 9999."""

_BLOCK = 1 << 20
_HALF_DAY = 43_200_000_000
_NEAR = 1 << 10
"""Rows that are looked through first for another one of the same item."""

logger = logging.getLogger(__name__)


def localize(
    times: Times, items: npt.NDArray[np.int32] | None, zone: str, column: str, book: RowBook,
    faults: Faults, append: Callable[[Times], None],
) -> None:  # fmt: skip
    """Turn local times into UTC, and hand them on block by block.

    In the hour that comes twice in autumn, of the rows of one item that share a stamp the first
    in the file is summer time and the second standard time; a stamp that is there once belongs to
    the second hour where it stands behind a step back of the clock, and else to summer time. A
    file that runs from the newest row to the oldest is read from its end.
    A time that the clock skips in spring is a fault.

    times: (row,) int64 microseconds as written. items: (row,) codes, or None.
    """
    skipped, twice = _places(times, zone)
    if skipped.size:
        rows, row = book.find(int(skipped[0]))
        written = format_times(times[skipped[:1]], False)[0]
        faults.add(
            rows, row, len(skipped), column, f"{written} does not exist in {zone}, where the "
            "clock skips it", "Correct it, or take out time_zone if the clock of the file never "
            "changes.", "zone",
        )  # fmt: skip
    is_summer = np.ones(len(twice), dtype=bool)
    if twice.size:
        is_summer, num_lone = _tell_apart(times, items, twice)
        if num_lone:
            rows, row = book.find(int(twice[0]))
            logger.warning(
                "%s, row %d: %d times lie in the hour that %s has twice in autumn and are there "
                "once; they are taken as summer time",
                rows.where, rows.number(row), num_lone, zone,
            )  # fmt: skip
    for begin in range(0, len(times), _BLOCK):
        part = times[begin : begin + _BLOCK]
        low, high = np.searchsorted(twice, (begin, begin + len(part)))
        summer = np.zeros(len(part), dtype=bool)
        summer[twice[low:high] - begin] = is_summer[low:high]
        append(_to_utc(part, zone, summer, "shift_forward"))


def localize_latest(times: Times, zone: str) -> Times:
    """Turn local times into UTC; of two that a stamp may be, the later: nothing is known early."""
    return _to_utc(times, zone, np.zeros(len(times), dtype=bool), "shift_forward")


def _to_utc(times: Times, zone: str, is_summer: Flags, nonexistent: str) -> Times:
    stamps = pd.DatetimeIndex(times.view("datetime64[us]"))
    # The stubs know the words of these options alone, and neither flags nor a plain str.
    local = stamps.tz_localize(zone, ambiguous=is_summer, nonexistent=nonexistent)  # type: ignore[arg-type]
    return local.tz_convert("UTC").tz_localize(None).to_numpy(dtype="datetime64[us]").view(np.int64)


def _places(times: Times, zone: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rows whose local time does not exist, and those whose time exists twice."""
    skipped, twice = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    for begin in range(0, len(times), _BLOCK):
        part = np.ascontiguousarray(times[begin : begin + _BLOCK])
        stamps = pd.DatetimeIndex(part.view("datetime64[us]"))
        strange = np.flatnonzero(
            stamps.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").isna()
        )
        if strange.size:
            summer = np.ones(len(strange), dtype=bool)
            again = stamps[strange].tz_localize(zone, ambiguous=summer, nonexistent="NaT")
            gone = np.asarray(again.isna())
            skipped.append(strange[gone] + begin)
            twice.append(strange[~gone] + begin)
    return np.concatenate(skipped), np.concatenate(twice)


def _tell_apart(
    times: Times, items: npt.NDArray[np.int32] | None, twice: npt.NDArray[np.intp]
) -> tuple[Flags, int]:
    """Tell which of the rows that may be either are summer time, and how many nobody can tell."""
    owner = np.zeros(len(twice), dtype=np.int32) if items is None else items[twice]
    local = times[twice]
    is_summer = np.ones(len(twice), dtype=bool)
    num_lone = 0
    order = np.lexsort((np.arange(len(twice)), local // _HALF_DAY, owner))
    changes = (np.diff(owner[order]) != 0) | (np.diff(local[order] // _HALF_DAY) != 0)
    for group in np.split(order, np.flatnonzero(changes) + 1):
        runs_back = _runs_back(times, items, twice[group])
        sequence = group[::-1] if runs_back else group
        stamps = local[sequence]
        seen: dict[int, int] = {}
        copies = pd.Series(stamps).duplicated(keep=False).to_numpy()
        steps_back = np.maximum.accumulate(np.append(False, np.diff(stamps) < 0))
        lone = not copies.any() and not steps_back.any()
        for place, stamp, is_copy, is_late in zip(
            sequence, stamps.tolist(), copies, steps_back, strict=True
        ):
            seen[stamp] = seen.get(stamp, 0) + 1
            is_summer[place] = seen[stamp] == 1 if is_copy else not is_late
        num_lone += len(group) if lone else 0
    return is_summer, num_lone


def _runs_back(
    times: Times, items: npt.NDArray[np.int32] | None, rows: npt.NDArray[np.intp]
) -> bool:
    """Tell whether the rows of an item run from the newest to the oldest, by its neighbours."""
    begin, end = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 1, len(times) - 1)
    if items is not None:
        begin, end = _row_before(items, int(rows[0])), _row_after(items, int(rows[-1]))
    return bool(times[begin] > times[end])


def _row_before(items: npt.NDArray[np.int32], row: int) -> int:
    """Return the nearest row before that is of the same item; the row itself where there is none.

    It mostly lies near; to look through all rows for each item would take their product.
    """
    width, end = _NEAR, row
    while end > 0:
        begin = max(end - width, 0)
        found = np.flatnonzero(items[begin:end] == items[row])
        if len(found):
            return begin + int(found[-1])
        width, end = 4 * width, begin
    return row


def _row_after(items: npt.NDArray[np.int32], row: int) -> int:
    """Return the nearest row after, likewise."""
    width, begin = _NEAR, row + 1
    while begin < len(items):
        found = np.flatnonzero(items[begin : begin + width] == items[row])
        if len(found):
            return begin + int(found[0])
        width, begin = 4 * width, begin + width
    return row
