"""Windows of a split, laid out for linear maps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmts.data.gathering import WindowGatherer
from mmts.linear.features import Level, WindowFeatures, own_past
from mmts.linear.path import Unit, measure_unit

_BATCH_SIZE = 512


@dataclass(frozen=True)
class Sample:
    """Windows in a unit of the target, all relative to its level.

    past: (window, target, step). features: (window, feature). ahead: (window, horizon, target),
    zero where not observed. observed: of the same shape. unit: (window, 1, target), on the train
    scale; spread: of each window's past, likewise. origins: (window,) int64.
    """

    past: Tensor
    features: Tensor
    ahead: Tensor
    observed: Tensor
    unit: Tensor
    spread: Tensor
    origins: Tensor

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.origins)

    def sharing(self, other: Sample) -> Sample:
        """Return the same in the memory of another one, but for the features.

        other: of the same windows, level and unit.
        """
        return replace(other, features=self.features)

    def latest(self, share: float) -> Sample:
        """Return the windows of the latest origins."""
        if share == 1:
            return self
        order = self.origins.argsort(stable=True)
        return self.take(order[-max(1, round(len(self) * share)) :].sort().values)

    def take(self, rows: Tensor) -> Sample:
        """Return some of the windows: their places, (window,) int64, or a flag for each."""
        return Sample(
            self.past[rows],
            self.features[rows],
            self.ahead[rows],
            self.observed[rows],
            self.unit[rows],
            self.spread[rows],
            self.origins[rows],
        )


def choose_spread(num_windows: int, num_chosen: int) -> Tensor:
    """Return the places of so many windows at most, int64: one at random in each stretch.

    Evenly spread ones might all begin at the same hour of the day.
    """
    stride = max(1, -(-num_windows // num_chosen))
    places = torch.arange(0, num_windows, stride)
    if stride == 1:
        return places
    lengths = (num_windows - places).clamp(max=stride)
    drawn = torch.rand(len(places), generator=torch.Generator().manual_seed(0))
    return places + (drawn * lengths).long().clamp(max=lengths - 1)


def lay_out(
    windows: WindowGatherer,
    chosen: Tensor,
    level: Level,
    unit: Unit,
    features: WindowFeatures | None,
) -> Sample:
    """Lay out some windows; features: None where the target's own past is enough."""
    schema = windows.schema
    held: list[Tensor] = []
    begin = 0
    for batch in windows.batches(_BATCH_SIZE, chosen):
        past, base = own_past(level, batch.streams[schema.target_stream], schema.target)
        size = measure_unit(unit, batch.streams, schema)
        rows = past[:, :0, 0] if features is None else features(batch.streams, size)
        ahead = ((batch.target - base) / size).masked_fill(~batch.target_observed, 0.0)
        past = (past / size).transpose(1, 2)
        spread = size if unit == "window" else measure_unit("window", batch.streams, schema)
        parts = (past, rows, ahead, batch.target_observed, size, spread)
        # There may be very many: they are written where they stay.
        held = held or [part.new_empty(len(chosen), *part.shape[1:]) for part in parts]
        for whole, part in zip(held, parts, strict=True):
            whole[begin : begin + len(batch)] = part
        begin += len(batch)
    past, rows, ahead, observed, size, spread = held
    return Sample(past, rows, ahead, observed, size, spread, windows.windows.origins[chosen])
