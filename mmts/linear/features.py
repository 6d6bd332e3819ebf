"""Windows as flat rows of numbers, for a linear map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mmts.data.batch import StreamWindow
from mmts.data.channels import take_channels
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema

MAX_BUCKETS = 64
"""Places of a hashed category, per step: one for each of thousands would fill all memory."""


Level = Literal["last", "mean", "zero"]
"""What past values are relative to: the last one observed, the mean of those in the window, or the
mean of the train split, which is zero."""

CalendarPart = Literal["horizon", "all"]
"""Which steps of a calendar are read: those of the horizon, or those of the context too."""

_HOLIDAY = "holiday"


def relative_to(level: Level, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return values less their level, and that level, (batch, 1, channel).

    values, observed: (batch, step, channel). Relative to the last one, a value that is missing
    counts as the one before it; else, and before the first one observed, as the level. The level is
    zero where none is observed.
    """
    if level == "zero":
        return values, torch.zeros_like(values[:, :1])
    if level == "mean":
        mean = values.sum(dim=1, keepdim=True) / observed.sum(dim=1, keepdim=True).clamp(min=1)
        return (values - mean).masked_fill(~observed, 0.0), mean
    steps = torch.arange(values.shape[1], device=values.device)[:, None]
    newest = torch.where(observed, steps, -1).cummax(dim=1).values
    filled = values.gather(1, newest.clamp(min=0))
    last = torch.where(newest[:, -1:] >= 0, filled[:, -1:], 0.0)
    return torch.where(newest >= 0, filled - last, 0.0), last


def own_past(level: Level, window: StreamWindow, schema: StreamSchema) -> tuple[Tensor, Tensor]:
    """Return the target's past, (batch, step, target), and its level, (batch, 1, target).

    The past is relative to the level, as in NLinear and RLinear (arXiv 2205.13504, 2305.10721).
    """
    channels = schema.channels("target")
    steps = slice(0, schema.context_steps)
    values = take_channels(window.values[:, steps], channels)
    observed = take_channels(window.observed[:, steps], channels)
    return relative_to(level, values, observed)


Kind = Literal["number", "name", "flag", "age", "one age"]
"""Of features: a name is a place of a category's one-hot; the one age is that of a stream on a
grid, the others are of each row."""


class FeatureKinds(NamedTuple):
    """What each feature of a row is.

    kinds: (feature,) str. flag_of: (feature,) int64, the place of the flag that tells whether it
    was observed, -1 where there is none.
    """

    kinds: npt.NDArray[np.str_]
    flag_of: Tensor

    def are(self, kind: Kind) -> Tensor:
        """Tell which are of a kind, (feature,)."""
        return torch.from_numpy(self.kinds == kind)


class WindowFeatures:
    """Lays out all that the model sees of each window side by side.

    Per stream and step: every number, every category as one-hot with a place of its own for unseen
    names, a flag per column that tells whether it was observed, and where rows stand on no grid,
    their age. A stream on a grid has one age, that of its last row. Numbers of the past are
    relative to their level: what drifts is else extrapolated to where no training window ever was.
    The level of the target is a feature of its own. Other numbers are zero where not observed.

    Of a calendar the horizon is laid out alone, as the steps before it tell next to nothing more,
    and of holidays the context too; flags and age would be the same in every train window. Texts
    may be left out: a few hundred windows can be told apart by the words of their time alone.
    """

    def __init__(
        self,
        schema: DataSchema,
        category_sizes: Mapping[str, Mapping[str, int]],
        level: Level = "last",
        calendar: CalendarPart = "horizon",
        with_texts: bool = True,
    ) -> None:
        """Build for a schema; category_sizes: per stream, the largest code of each category."""
        self.schema = schema
        self.level = level
        self.calendar = calendar
        self.category_sizes = category_sizes
        self.columns = {
            name: [
                (column, place)
                for column, place in zip(stream.columns, stream.slices, strict=True)
                if with_texts or column.type != "text"
            ]
            for name, stream in schema.streams.items()
        }

    def __call__(self, streams: Mapping[str, StreamWindow], spread: Tensor) -> Tensor:
        """Return (batch, feature); spread: (batch, 1, target), units of the target's past."""
        parts = [own_past(self.level, streams[self.schema.target_stream], self.schema.target)[1]]
        for name, stream in self.schema.streams.items():
            sizes = self.category_sizes[name]
            if self._is_read_ahead_alone(stream):
                parts += _lay_out_calendar(streams[name], stream, sizes)
            elif self.columns[name]:
                parts += self._lay_out(streams[name], name, spread)
        return torch.cat([part.flatten(start_dim=1) for part in parts], dim=1)

    @property
    def num_features(self) -> int:
        """How many features there are."""
        count = len(self.schema.target_columns)
        for name, stream in self.schema.streams.items():
            sizes, columns = self.category_sizes[name], [c for c, _ in self.columns[name]]
            widths = [self._width(column, sizes) for column in columns]
            if self._is_read_ahead_alone(stream):
                places = zip(columns, widths, strict=True)
                count += sum(width * len(_calendar_steps(stream, c)) for c, width in places)
            elif columns:
                ages = 0 if stream.is_static else 1 if stream.is_regular else stream.num_steps
                count += stream.num_steps * (sum(widths) + len(columns)) + ages
        return count

    def kinds(self) -> FeatureKinds:
        """Tell what each feature is."""
        number: list[Kind] = ["number"]
        flag: list[Kind] = ["flag"]
        kinds = number * len(self.schema.target_columns)
        flag_of = [-1] * len(kinds)
        for name, stream in self.schema.streams.items():
            columns, sizes = [c for c, _ in self.columns[name]], self.category_sizes[name]
            widths = [self._width(column, sizes) for column in columns]
            if self._is_read_ahead_alone(stream):
                places = zip(columns, widths, strict=True)
                count = sum(width * len(_calendar_steps(stream, c)) for c, width in places)
                kinds += number * count
                flag_of += [-1] * count
            elif columns:
                first_flag = len(kinds) + stream.num_steps * sum(widths)
                for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
                    own: list[Kind] = ["name" if column.type == "category" else "number"]
                    for step in range(stream.num_steps):
                        kinds += own * width
                        flag_of += [first_flag + step * len(columns) + place] * width
                count = stream.num_steps * len(columns)
                ages = 0 if stream.is_static else 1 if stream.is_regular else stream.num_steps
                age: list[Kind] = ["one age" if stream.is_regular else "age"]
                kinds += flag * count + age * ages
                flag_of += [-1] * (count + ages)
        return FeatureKinds(np.array(kinds), torch.tensor(flag_of))

    @staticmethod
    def _width(column: ColumnSchema, sizes: Mapping[str, int]) -> int:
        is_name = column.name in sizes
        return _num_codes(column, sizes[column.name]) + 1 if is_name else column.width

    def _is_read_ahead_alone(self, stream: StreamSchema) -> bool:
        return stream.calendar is not None and self.calendar == "horizon"

    def _lay_out(self, window: StreamWindow, name: str, spread: Tensor) -> list[Tensor]:
        """Return features of one stream, each (batch, ...)."""
        schema, category_sizes = self.schema.streams[name], self.category_sizes[name]
        parts: list[Tensor] = []
        spreads = iter(torch.split(spread, 1, dim=-1))
        for column, place in self.columns[name]:
            values, observed = window.values[..., place], window.observed[..., place]
            if column.type == "category":
                parts.append(_one_hot(values, column, category_sizes[column.name]) * observed)
            elif column.type == "text" or column.role == "future" or schema.is_static:
                parts.append(values)
            else:
                relative = relative_to(self.level, values, observed)[0]
                parts.append(relative / next(spreads) if column.role == "target" else relative)
        places = [place for _, place in self.columns[name]]
        parts.append(take_channels(window.observed, [place.start for place in places]).float())
        if not schema.is_static:
            # An absent row may lie anywhere in time: its age says nothing.
            read = [channel for place in places for channel in range(place.start, place.stop)]
            exists = take_channels(window.observed, read).any(dim=-1)
            age = torch.where(exists, torch.log1p(-window.start.clamp(max=0.0) / 3600), 0.0)
            if schema.is_regular:
                steps = torch.arange(age.shape[1], device=age.device)
                last = steps.masked_fill(~exists, -1).amax(dim=1, keepdim=True)
                age = age.gather(1, last.clamp(min=0))
            parts.append(age)
        return parts


def _lay_out_calendar(
    window: StreamWindow, schema: StreamSchema, category_sizes: Mapping[str, int]
) -> list[Tensor]:
    parts = []
    for column, place in zip(schema.columns, schema.slices, strict=True):
        steps = _calendar_steps(schema, column)
        values = window.values[:, steps.start : steps.stop, place]
        if column.type == "category":
            observed = window.observed[:, steps.start : steps.stop, place]
            values = _one_hot(values, column, category_sizes[column.name]) * observed
        parts.append(values)
    return parts


def _calendar_steps(schema: StreamSchema, column: ColumnSchema) -> range:
    """Return the steps of a calendar whose content the others do not tell."""
    # A holiday yesterday is behind what was measured then.
    first = 0 if column.name == _HOLIDAY else schema.context_steps
    return range(first, schema.num_steps)


def _one_hot(values: Tensor, column: ColumnSchema, largest: int) -> Tensor:
    """Return (batch, step, place) of codes, (batch, step, 1)."""
    codes, num_codes = values[..., 0].long(), _num_codes(column, largest)
    if num_codes < largest:
        codes = codes % num_codes + 1
    return functional.one_hot(codes, num_codes + 1).float()


def _num_codes(column: ColumnSchema, largest: int) -> int:
    return largest if column.buckets is None else min(largest, MAX_BUCKETS)
