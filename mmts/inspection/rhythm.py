"""The rhythm of a file: how far its rows are apart, what is missing and what comes twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from mmts.config_base import Months, format_period, microseconds

_MAX_GRID_GROWTH = 10
"""Places of a grid per row above which rows are events, not a series with gaps."""

_MAX_MONTHS = 12
_MOST_MOVED = 4
"""Days by which dates that stand for their month may differ."""


@dataclass(frozen=True)
class Rhythm:
    """What the times of a file say, per item where there are items.

    period: None where the rows stand on no grid. num_places: places of the grid, of all items.
    num_repeated: rows that share item and time with an earlier one. typical: most frequent step,
    in microseconds. num_off: rows that stand off the grid of that step.
    first, last: int64 microseconds.
    """

    period: timedelta | Months | None
    num_rows: int
    num_places: int
    num_repeated: int
    typical: int
    num_off: int
    first: int
    last: int

    @property
    def num_missing(self) -> int:
        """Places of the grid without a row."""
        return max(0, self.num_places - (self.num_rows - self.num_repeated))

    @property
    def words(self) -> str:
        """The period in words."""
        return "on no grid" if self.period is None else f"every {format_period(self.period)}"


def length_of(period: timedelta | Months) -> int:
    """Return the typical length of a period, in microseconds."""
    return microseconds(period.as_duration() if isinstance(period, Months) else period)


def measure_rhythm(
    times: npt.NDArray[np.int64], items: npt.NDArray[np.int64] | None, is_sparse: bool = True
) -> Rhythm:
    """Measure rows in any order.

    times, items: (row,) int64. is_sparse: whether a grid that is nearly empty counts as none.
    """
    order = np.argsort(times, kind="stable") if items is None else np.lexsort((times, items))
    times = times[order]
    new_item = np.zeros(len(times), dtype=bool)
    new_item[0] = True
    if items is not None:
        new_item[1:] = np.diff(items[order]) != 0
    repeated = ~new_item
    repeated[1:] &= np.diff(times) == 0
    times, new_item = times[~repeated], new_item[~repeated]
    same = ~new_item[1:]
    steps = np.diff(times)[same]
    # The time of the item's first row, at each row.
    starts = times[new_item][np.cumsum(new_item) - 1]
    num_items = int(new_item.sum())
    period: timedelta | Months | None = None
    typical, places, num_off = 0, len(times), 0
    if len(steps):
        distinct, counts = np.unique(steps, return_counts=True)
        typical = int(distinct[counts.argmax()])
        num_off = int(((times - starts) % typical != 0).sum())
        if num_off == 0:
            period = timedelta(microseconds=typical)
            places = int(steps.sum()) // typical + num_items
        else:
            months = _months_between(times, same)
            if months is not None:
                every = _most_frequent(months)
                period, num_off = Months(every), 0
                places = int(months.sum()) // every + num_items
        if is_sparse and places > _MAX_GRID_GROWTH * len(times):
            period, places = None, len(times)
    return Rhythm(
        period,
        len(order),
        places,
        int(repeated.sum()),
        typical,
        num_off,
        int(times.min()),
        int(times.max()),
    )


def _most_frequent(steps: npt.NDArray[np.int64]) -> int:
    distinct, counts = np.unique(steps, return_counts=True)
    return int(distinct[counts.argmax()])


def _months_between(
    times: npt.NDArray[np.int64], same: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64] | None:
    """Return the months from row to row where each row is a date that stands for its month.

    Such are the first or the last days, those of business, or the same day of each.
    """
    days = times.astype("datetime64[us]").astype("datetime64[D]")
    if (days.astype("datetime64[us]").astype(np.int64) != times).any():
        return None
    months = days.astype("datetime64[M]")
    from_begin = (days - months.astype("datetime64[D]")).astype(np.int64)
    from_end = ((months + 1).astype("datetime64[D]") - days).astype(np.int64)
    # Weekends and holidays move the first and the last day of business by so many.
    if min(np.ptp(from_begin), np.ptp(from_end)) > _MOST_MOVED:
        return None
    steps: npt.NDArray[np.int64] = np.diff(months.astype(np.int64))[same].astype(np.int64)
    every = _most_frequent(steps)
    if every > _MAX_MONTHS or (steps < 1).any() or (steps % every != 0).any():
        return None
    return steps
