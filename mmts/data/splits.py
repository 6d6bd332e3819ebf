"""Where train, validation and test begin and end, in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import torch

from mmts.config_base import Config
from mmts.data.availability import row_starts
from mmts.data.config import SplitConfig
from mmts.data.schema import DataSchema
from mmts.data.table import Table
from mmts.data.times import format_times, moment_of
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

    def dates(self, schema: DataSchema) -> Iterator[tuple[str, str, str]]:
        """Yield name, first moment and end of each split in words."""
        for name in SPLITS:
            moments = np.array(self.bounds(name))
            first, last = format_times(moments, schema.has_time_zone, schema.time_zone)
            yield name, first, last


def resolve_split(config: SplitConfig, target: Table, schema: DataSchema) -> Split:
    """Turn times, fractions and row counts into moments on the target stream's clock.

    Fractions and counts are of the grid from the first to the last row of any item that holds a
    target value: rows that only tell the future do not move a cut.
    Raises DataError when the cuts do not follow each other inside the data.
    """
    stream, clock, zone = schema.target, schema.clock, schema.time_zone
    observed = np.any([np.isfinite(target.numbers(c)) for c in schema.target_columns], axis=0)
    starts = row_starts(target, stream)[observed & target.counted()]
    begin = torch.tensor(int(starts.min()))
    num_rows = int(clock.elapsed(begin, int(starts.max()))) + 1

    def moment(cut: datetime | float | int) -> int:
        if isinstance(cut, datetime):
            where = f"data.split: {cut.isoformat()}"
            return moment_of(cut, target.has_time_zone, where, zone)
        rows = cut if isinstance(cut, int) else int(num_rows * cut)
        # Beyond the data one place is like another, and a count may be any number.
        return int(clock.advance(begin, min(rows, num_rows + 1)))

    data_end = int(clock.advance(torch.tensor(int(starts.max())), 1))
    split = Split(
        begin=int(begin),
        validation=moment(config.validation),
        test=moment(config.test),
        end=data_end if config.end is None else min(moment(config.end), data_end),
    )
    if not split.begin < split.validation < split.test < split.end:
        moments = np.array([split.begin, split.validation, split.test, split.end])
        first, validation, test, end = format_times(moments, target.has_time_zone, zone)
        raise DataError(
            f"data.split: validation at {validation} and test at {test} do not follow each other "
            f"inside the data, which run from {first} to {end}. Move the cuts."
        )
    return split
