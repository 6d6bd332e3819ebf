"""Windows as flat rows of numbers, for a linear map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mmts.data.batch import StreamWindow
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema

MAX_BUCKETS = 64
"""Places of a hashed category, per step: one for each of thousands would fill all memory."""


def relative_to_last(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return values less the last one observed, and that one, (batch, 1, channel).

    values, observed: (batch, step, channel). A value that is missing counts as the one before it;
    those before the first observed one count as the last. The last is zero where none is observed.
    """
    steps = torch.arange(values.shape[1], device=values.device)[:, None]
    newest = torch.where(observed, steps, -1).cummax(dim=1).values
    filled = values.gather(1, newest.clamp(min=0))
    last = torch.where(newest[:, -1:] >= 0, filled[:, -1:], 0.0)
    return torch.where(newest >= 0, filled - last, 0.0), last


def own_past(window: StreamWindow, schema: StreamSchema) -> tuple[Tensor, Tensor]:
    """Return the target's past, (batch, step, target), and its last value, (batch, 1, target).

    The past is relative to that value, as in NLinear (arXiv 2205.13504).
    """
    channels = schema.channels("target")
    steps = slice(0, schema.context_steps)
    return relative_to_last(window.values[:, steps, channels], window.observed[:, steps, channels])


class WindowFeatures:
    """Lays out all that the model sees of each window side by side.

    Per stream and step: every number, every category as one-hot with a place of its own for unseen
    names, and where rows stand on no grid, their age. A stream on a grid has one age, that of its
    last row. Per column the share of steps at which it was observed. Numbers of the past are
    relative to the last one observed: what drifts is else extrapolated to where no training window
    ever was. The last value of the target is a feature of its own. Other numbers are zero where
    they are not observed.
    """

    def __init__(self, schema: DataSchema, category_sizes: Mapping[str, Mapping[str, int]]) -> None:
        """Build for a schema; category_sizes: per stream, the largest code of each category."""
        self.schema = schema
        self.category_sizes = category_sizes

    def __call__(self, streams: Mapping[str, StreamWindow], spread: Tensor) -> Tensor:
        """Return (batch, feature); spread: (batch, 1, target), units of the target's past."""
        parts = [own_past(streams[self.schema.target_stream], self.schema.target)[1]]
        for name, stream in self.schema.streams.items():
            parts += _lay_out(streams[name], stream, self.category_sizes[name], spread)
        return torch.cat([part.flatten(start_dim=1) for part in parts], dim=1)

    @property
    def num_features(self) -> int:
        """How many features there are."""
        count = len(self.schema.target_columns)
        for name, stream in self.schema.streams.items():
            sizes = self.category_sizes[name]
            places = [_num_codes(c, sizes[c.name]) + 1 for c in stream.columns if c.name in sizes]
            width = stream.num_channels - len(places) + sum(places)
            ages = 0 if stream.is_static else 1 if stream.is_regular else stream.num_steps
            count += stream.num_steps * width + len(stream.columns) + ages
        return count


def _num_codes(column: ColumnSchema, largest: int) -> int:
    return largest if column.buckets is None else min(largest, MAX_BUCKETS)


def _lay_out(
    window: StreamWindow,
    schema: StreamSchema,
    category_sizes: Mapping[str, int],
    spread: Tensor,
) -> list[Tensor]:
    """Return features of one stream, each (batch, ...)."""
    parts: list[Tensor] = []
    spreads = iter(torch.split(spread, 1, dim=-1))
    placed = list(zip(schema.columns, schema.slices, strict=True))
    for column, place in placed:
        values, observed = window.values[..., place], window.observed[..., place]
        if column.type == "category":
            codes, largest = values[..., 0].long(), category_sizes[column.name]
            num_codes = _num_codes(column, largest)
            if num_codes < largest:
                codes = codes % num_codes + 1
            parts.append(functional.one_hot(codes, num_codes + 1).float() * observed)
        elif column.type == "text" or column.role == "future" or schema.is_static:
            parts.append(values)
        else:
            relative = relative_to_last(values, observed)[0]
            parts.append(relative / next(spreads) if column.role == "target" else relative)
    firsts = [place.start for _, place in placed]
    parts.append(window.observed[..., firsts].float().mean(dim=1))
    if not schema.is_static:
        # An absent row may lie anywhere in time: its age says nothing.
        exists = window.observed.any(dim=-1)
        age = torch.where(exists, torch.log1p(-window.start.clamp(max=0.0) / 3600), 0.0)
        if schema.is_regular:
            steps = torch.arange(age.shape[1], device=age.device)
            last = steps.masked_fill(~exists, -1).amax(dim=1, keepdim=True)
            age = age.gather(1, last.clamp(min=0))
        parts.append(age)
    return parts
