"""Where train, validation and test begin and end, in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from mmts.config_base import Config
from mmts.data.clocks import row_starts
from mmts.data.config import SplitConfig
from mmts.data.schema import StreamSchema
from mmts.data.tables import Table, format_times
from mmts.errors import DataError

SPLITS = ("train", "validation", "test")


class Split(Config):
    """The cuts, in microseconds: train is [begin, validation), and so on up to `end`."""

    begin: int
    validation: int
    test: int
    end: int

    def bounds(self, name: str) -> tuple[int, int]:
        """Return first moment and end of `train`, `validation` or `test`."""
        cuts = (self.begin, self.validation, self.test, self.end)
        place = SPLITS.index(name)
        return cuts[place], cuts[place + 1]

    def dates(self, has_time_zone: bool) -> Iterator[tuple[str, str, str]]:
        """Yield name, first moment and end of each split in words."""
        for name in SPLITS:
            first, last = format_times(np.array(self.bounds(name)), has_time_zone)
            yield name, first, last


def moment_of(time: datetime, has_time_zone: bool, where: str) -> int:
    """Return a time that the user gave in microseconds; without an offset it is UTC.

    Raises DataError when it states an offset and the data do not: nobody can tell what that means.
    """
    if time.tzinfo is not None and not has_time_zone:
        raise DataError(f"{where} states a UTC offset, and the data do not. Leave it out.")
    try:
        utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise DataError(f"{where} lies outside of all calendars. Correct it.") from None
    return (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def resolve_split(config: SplitConfig, target: Table, schema: StreamSchema) -> Split:
    """Turn times, fractions and row counts into moments on the target stream's clock.

    Fractions and counts are of the grid from the first to the last row of any item that holds a
    target value: rows that only tell the future do not move a cut.
    Raises DataError when the cuts do not follow each other inside the data.
    """
    targets = [target.columns[c.name] for c in schema.columns if c.role == "target"]
    starts = row_starts(target, schema)[np.isfinite(targets).any(axis=0)]
    begin, last = int(starts.min()), int(starts.max())
    num_rows = (last - begin) // schema.period + 1

    def moment(cut: datetime | float | int) -> int:
        if isinstance(cut, datetime):
            return moment_of(cut, target.has_time_zone, f"data.split: {cut.isoformat()}")
        rows = cut if isinstance(cut, int) else int(num_rows * cut)
        return begin + rows * schema.period

    data_end = last + schema.period
    split = Split(
        begin=begin,
        validation=moment(config.validation),
        test=moment(config.test),
        end=data_end if config.end is None else min(moment(config.end), data_end),
    )
    if not split.begin < split.validation < split.test < split.end:
        first, validation, test, end = format_times(
            np.array([split.begin, split.validation, split.test, split.end]), target.has_time_zone
        )
        raise DataError(
            f"data.split: validation at {validation} and test at {test} do not follow each other "
            f"inside the data, which run from {first} to {end}. Move the cuts."
        )
    return split
