"""What to say of windows before they are forecast: what is missing in them, and what is odd."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmts.data.batch import Batch, StreamWindow
from mmts.data.gathering import WindowGatherer
from mmts.data.scaling import UNSEEN, StreamScaling
from mmts.data.schema import StreamSchema

MANY_TIMES = 3.0
"""As far from the mean as any number of the train split: beyond, nothing was learned."""

_MANY = 0.25
"""Of the numbers of a column in a window, that have to lie so far: a spike is none."""

_BATCH_SIZE = 256
_MOST_NAMED = 3

logger = logging.getLogger(__name__)


def warn_of_windows(
    windows: WindowGatherer, scaling: Mapping[str, StreamScaling], items: Sequence[str]
) -> None:
    """Log what forecasts of these windows will lack, or read that no model has learned from."""
    of = [items[place] for place in windows.windows.items.tolist()]
    # What is not there at all has been told.
    found = {
        name: _Stream(stream, scaling[name])
        for name, stream in windows.schema.streams.items()
        if len(windows.streams[name].values) > 1
    }
    for batch in windows.batches(_BATCH_SIZE):
        for name, stream in found.items():
            stream.look_at(batch, name)
    warnings = list(_short_pasts(windows, of))
    for name, stream in found.items():
        warnings += [f"stream {name!r}{said}" for said in stream.describe(of)]
    for warning in warnings:
        logger.warning("%s", warning)


@dataclass
class _Column:
    """A column of numbers: how far those of training lay from their mean, and these lie.

    is_far: (window,) bool, batch by batch.
    """

    name: str
    channel: int
    furthest: float
    num_values: int = 0
    most_times: float = 0.0
    is_far: list[Tensor] = field(default_factory=list)

    def look_at(self, window: StreamWindow) -> None:
        """Take in a batch."""
        observed = window.observed[..., self.channel]
        distance = window.values[..., self.channel].abs() / self.furthest
        far = observed & (distance > MANY_TIMES)
        is_far = far.any(dim=1) & (far.sum(dim=1) >= _MANY * observed.sum(dim=1))
        self.is_far.append(is_far)
        self.num_values += int(observed.sum())
        if is_far.any():
            self.most_times = max(self.most_times, float((distance * far)[is_far].max()))


@dataclass
class _Names:
    """A column of names: whether those of training stand in it.

    is_unknown: (window,) bool, batch by batch, whether a quarter or more of its names were not
    seen in training.
    """

    name: str
    channel: int
    is_unknown: list[Tensor] = field(default_factory=list)

    def look_at(self, window: StreamWindow) -> None:
        """Take in a batch."""
        observed = window.observed[..., self.channel]
        unseen = observed & (window.values[..., self.channel] == UNSEEN)
        self.is_unknown.append(
            unseen.any(dim=1) & (unseen.sum(dim=1) >= _MANY * observed.sum(dim=1))
        )


class _Stream:
    """What the windows of one stream are like, batch by batch.

    is_empty, lacks: (window,) bool, whether nothing is there, and whether not all of the horizon
    is known. num_ahead, num_unknown: rows over the horizon, and how many of them are not known.
    """

    def __init__(self, schema: StreamSchema, scaling: StreamScaling) -> None:
        self.schema = schema
        self.is_empty: list[Tensor] = []
        self.lacks: list[Tensor] = []
        self.num_ahead = self.num_unknown = 0
        # What never varied in training, and what is one value for all time, has no distance.
        furthest = {
            name: number.furthest
            for name, number in scaling.numbers.items()
            if number.furthest and not schema.is_static
        }
        self.columns = [
            _Column(column.name, place.start, furthest[column.name])
            for column, place in zip(schema.columns, schema.slices, strict=True)
            if column.name in furthest
        ]
        # Hashed names have no list, and a new item may well bring a name of its own.
        self.names = [
            _Names(column.name, place.start)
            for column, place in zip(schema.columns, schema.slices, strict=True)
            if column.name in scaling.vocabularies and not schema.is_static
        ]

    def look_at(self, batch: Batch, name: str) -> None:
        """Take in a batch."""
        window = batch.streams[name]
        self.is_empty.append(~window.observed.flatten(1).any(dim=1))
        if self.schema.has_future and self.schema.is_regular:
            ahead = (window.start >= 0) & (window.start < batch.step_edges[:, -1:])
            known = window.observed[..., self.schema.channels("future")].any(dim=-1)
            self.num_ahead += int(ahead.sum())
            self.num_unknown += int((ahead & ~known).sum())
            self.lacks.append((ahead & ~known).any(dim=1))
        for column in self.columns:
            column.look_at(window)
        for names in self.names:
            names.look_at(window)

    def describe(self, of: list[str]) -> Iterator[str]:
        """Yield what there is to say; of: the item of each window."""
        is_empty = torch.cat(self.is_empty)
        if is_empty.any():
            yield (
                f" holds nothing in the window of {_forecasts(is_empty, of)}: forecasting without "
                "it there"
            )
        if self.num_unknown:
            yield (
                f": {self.num_unknown} of {self.num_ahead} rows over the horizon are not known, of "
                f"{_forecasts(torch.cat(self.lacks), of)}: forecasting without them"
            )
        for column in self.columns:
            is_far = torch.cat(column.is_far)
            if is_far.any():
                yield (
                    f": a quarter or more of the numbers in column {column.name!r} lies far "
                    f"outside, up to {column.most_times:.0f} times as far from the mean as any in "
                    f"training, for {_forecasts(is_far, of)}. Are these other units?"
                )
            elif not column.num_values and not is_empty.all():
                yield f", column {column.name!r} holds nothing: forecasting without it"
        for names in self.names:
            is_unknown = torch.cat(names.is_unknown)
            if is_unknown.any():
                yield (
                    f": a quarter or more of the names in column {names.name!r} are none of the "
                    f"training's, for {_forecasts(is_unknown, of)}: they are all read as one "
                    "unknown name. Are they written otherwise?"
                )


def _short_pasts(windows: WindowGatherer, of: list[str]) -> Iterator[str]:
    """Yield which items have a shorter past than any window of the training."""
    schema = windows.schema
    target = windows.streams[schema.target_stream]
    places, origins = windows.windows.items.long(), windows.windows.origins
    steps = schema.clock.elapsed(target.first_time[places], origins)
    short = steps < schema.target.context_steps
    if short.any():
        yield (
            f"{_forecasts(short, of)} have less than a whole context behind them, the shortest "
            f"{int(steps[short].min())} of {schema.target.context_steps} steps: no window of the "
            "training was as short"
        )


def _forecasts(chosen: Tensor, of: list[str]) -> str:
    """Say which forecasts: how many, and of which items; of: the item of each."""
    names = list(dict.fromkeys(of[place] for place in torch.nonzero(chosen).flatten().tolist()))
    listed = ", ".join(names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{int(chosen.sum())} of {len(of)} forecasts ({listed}{more})"
