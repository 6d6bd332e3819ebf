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
    scale. origins: (window,) int64.
    """

    past: Tensor
    features: Tensor
    ahead: Tensor
    observed: Tensor
    unit: Tensor
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
        return self._take(order[-max(1, round(len(self) * share)) :].sort().values)

    def spread(self, count: int) -> Sample:
        """Return at most so many windows, evenly spread."""
        return self._take(torch.arange(0, len(self), -(-len(self) // count)))

    def _take(self, rows: Tensor) -> Sample:
        return Sample(
            self.past[rows],
            self.features[rows],
            self.ahead[rows],
            self.observed[rows],
            self.unit[rows],
            self.origins[rows],
        )


def lay_out(
    windows: WindowGatherer, stride: int, level: Level, unit: Unit, features: WindowFeatures | None
) -> Sample:
    """Lay out every so many windows; features: None where the target's own past is enough."""
    schema = windows.schema
    chosen = torch.arange(0, len(windows), stride)
    held: list[Tensor] = []
    begin = 0
    for batch in windows.batches(_BATCH_SIZE, chosen):
        past, base = own_past(level, batch.streams[schema.target_stream], schema.target)
        spread = measure_unit(unit, batch.streams, schema)
        rows = past[:, :0, 0] if features is None else features(batch.streams, spread)
        ahead = ((batch.target - base) / spread).masked_fill(~batch.target_observed, 0.0)
        past = (past / spread).transpose(1, 2)
        parts = (past, rows, ahead, batch.target_observed, spread)
        # There may be very many: they are written where they stay.
        held = held or [part.new_empty(len(chosen), *part.shape[1:]) for part in parts]
        for whole, part in zip(held, parts, strict=True):
            whole[begin : begin + len(batch)] = part
        begin += len(batch)
    past, rows, ahead, observed, spread = held
    return Sample(past, rows, ahead, observed, spread, windows.windows.origins[chosen])
