"""What to say of windows before they are forecast: what is missing in them, and what is odd."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmts.data.batch import Batch
from mmts.data.channels import take_channels
from mmts.data.gathering import WindowGatherer
from mmts.data.schema import StreamSchema

FAR = 10.0
"""Spreads from the mean of the train split, beyond which a number is not of what was learned."""

_MANY = 0.25
"""Of the numbers of a column in a window, that have to lie so far: a spike is none."""

_BATCH_SIZE = 256
_MOST_NAMED = 3

logger = logging.getLogger(__name__)


def warn_of_windows(windows: WindowGatherer, items: Sequence[str]) -> None:
    """Log what forecasts of these windows will lack, or read that no model has learned from."""
    found = {name: _Stream(stream) for name, stream in windows.schema.streams.items()}
    for batch in windows.batches(_BATCH_SIZE):
        for name, stream in found.items():
            stream.look_at(batch, name)
    of = [items[place] for place in windows.windows.items.tolist()]
    for warning in [*_short_pasts(windows, of), *_of_streams(windows, found, of)]:
        logger.warning("%s", warning)


@dataclass
class _Stream:
    """What the windows of one stream are like, each list batch by batch.

    is_empty, lacks: (window,) bool, whether nothing is there, and whether not all of the horizon
    is known. ahead, unknown: rows over the horizon in all, and how many are not known. distance:
    (window, column), of which a part of the numbers lies farther from the mean, in spreads.
    """

    schema: StreamSchema
    is_empty: list[Tensor] = field(default_factory=list)
    lacks: list[Tensor] = field(default_factory=list)
    distance: list[Tensor] = field(default_factory=list)

    def look_at(self, batch: Batch, name: str) -> None:
        """Take in a batch."""
        window, schema = batch.streams[name], self.schema
        self.is_empty.append(~window.observed.flatten(1).any(dim=1))
        if schema.has_future and schema.is_regular:
            ahead = (window.start >= 0) & (window.start < batch.step_edges[:, -1:])
            known = window.observed[..., schema.channels("future")].any(dim=-1)
            self.lacks.append((ahead & ~known).any(dim=1))
        numbers = self.numbers
        if numbers:
            values = take_channels(window.values, [channel for _, channel in numbers])
            observed = take_channels(window.observed, [channel for _, channel in numbers])
            sizes = values.abs().masked_fill(~observed, torch.nan)
            self.distance.append(torch.nanquantile(sizes, 1 - _MANY, dim=1).nan_to_num(nan=0.0))

    @property
    def numbers(self) -> list[tuple[str, int]]:
        """Name and channel of the columns that are measured; what is told of a calendar is not."""
        if self.schema.calendar is not None:
            return []
        return [
            (column.name, place.start)
            for column, place in zip(self.schema.columns, self.schema.slices, strict=True)
            if column.type == "number"
        ]


def _short_pasts(windows: WindowGatherer, of: list[str]) -> Iterator[str]:
    """Yield which items have a shorter past than any window of the training."""
    schema = windows.schema
    target = windows.streams[schema.target_stream]
    places, origins = windows.windows.items.long(), windows.windows.origins
    steps = schema.clock.elapsed(target.first_time[places], origins)
    short = steps < schema.target.context_steps
    if short.any():
        fewest = int(steps[short].min())
        yield (
            f"{_forecasts(short, of)} from less than a whole context, {fewest} of "
            f"{schema.target.context_steps} steps at least: no training window was as short"
        )


def _of_streams(windows: WindowGatherer, found: dict[str, _Stream], of: list[str]) -> Iterator[str]:
    for name, stream in found.items():
        is_empty = torch.cat(stream.is_empty)
        if is_empty.any() and len(windows.streams[name].values) > 1:
            yield (
                f"stream {name!r} holds nothing in the window of {_forecasts(is_empty, of)}: "
                "forecasting without it there"
            )
        if stream.lacks and (lacks := torch.cat(stream.lacks)).any():
            yield (
                f"stream {name!r}: not all of the horizon is known for {_forecasts(lacks, of)}: "
                "forecasting without what is missing"
            )
        if stream.distance:
            distances = torch.cat(stream.distance)
            for (column, _), far in zip(stream.numbers, distances.unbind(dim=1), strict=True):
                if (far > FAR).any():
                    yield (
                        f"stream {name!r}: a quarter of the numbers in column {column!r} lies "
                        f"{far.max():.0f} spreads or more from the mean of the training, for "
                        f"{_forecasts(far > FAR, of)}. Are these other units?"
                    )


def _forecasts(chosen: Tensor, of: list[str]) -> str:
    """Say which forecasts: how many, and of which items; of: the item of each."""
    names = list(dict.fromkeys(of[place] for place in torch.nonzero(chosen).flatten().tolist()))
    listed = ", ".join(names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{int(chosen.sum())} of {len(of)} forecasts ({listed}{more})"
