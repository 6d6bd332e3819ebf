"""When each row of a table begins, ends, and becomes known.

The one place where these rules are written for whole tables; windows follow from what it says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmts.data.cache.array_files import as_tensor
from mmts.data.clock import DAY, Clock
from mmts.data.schema import StreamSchema
from mmts.data.table import Table

Times = npt.NDArray[np.int64]

NEVER = 2**62
"""When a row that is missing becomes known."""

_BEYOND = 230 * 365 * DAY
"""About the year 2200."""


def starts_of(times: Times, clock: Clock | None, stamp: str, shift: int) -> Times:
    """Return the start of the period that each stamp speaks of; an event's own time.

    stamp, shift: as in `StreamSchema`. A period of the calendar begins with the day or month in
    which its stamp lies, or ends with it; a stamp that is exactly the end of one lies in it.
    """
    if clock is None:
        return times
    if not clock.is_calendar:
        return times - clock.every if stamp == "end" else times
    inside = times - 1 if stamp == "end" and shift == 0 else times
    starts = clock.floor(as_tensor(inside))
    if stamp == "end" and clock.every > 1:
        # A quarter that is stamped at its end began two months before the last of its own.
        ends = clock.model_copy(update={"every": 1}).advance(starts, 1)
        starts = clock.advance(ends, -1)
    return starts.numpy()


def row_starts(table: Table, schema: StreamSchema) -> Times:
    """Return when the period of each row begins, whatever a timestamp marks, (row,)."""
    assert table.times is not None
    return starts_of(table.times, schema.clock, schema.stamp, schema.stamp_shift)


def row_ends(starts: Times, clock: Clock | None) -> Times:
    """Return when each period, or day, is over, (row,); an event is over at once."""
    if clock is None:
        return starts
    return clock.advance(as_tensor(starts), 1).numpy()


def row_availability(table: Table, schema: StreamSchema) -> Times:
    """Return when what a row tells of the past became known, (row,).

    That is when its period was over, or when its own column says, and `delay` later. In a table
    that holds future columns as well, `available_at` speaks of these: its past columns are known
    no sooner than their period is over.
    """
    stated = stated_availability(table, schema)
    if stated is not None and not schema.has_future:
        return stated
    over = row_ends(row_starts(table, schema), schema.clock or schema.days) + schema.delay
    return over if stated is None else np.maximum(over, stated)


def stated_availability(table: Table, schema: StreamSchema) -> Times | None:
    """Return when the rows themselves say that they became known, (row,); None if they do not.

    A moment beyond all calendars, such as 9999-12-31, is how many files write 'not yet': never.
    """
    if table.available is None:
        return None
    return np.where(table.available >= _BEYOND, NEVER, table.available + schema.delay)
