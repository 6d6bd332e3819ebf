"""How much of the linear path goes into a forecast, as the model sees fit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmts.layers.full_precision import full_precision
from mmts.layers.window_norm import WindowScale


class LinearShare(nn.Module):
    """Weighs the linear path, per step and target, by what was decoded.

    Between 0 and 2, and 1 at first. Without it, what is wrong in a path that reads hundreds of
    noisy numbers would have to be taken back number by number.
    """

    def __init__(self, dim: int, num_targets: int) -> None:
        """Build for the decoder's width."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_targets, dim))
        self.bias = nn.Parameter(torch.zeros(num_targets))

    def forward(self, decoded: Tensor, linear: Tensor, scale: WindowScale) -> Tensor:
        """Return (batch, horizon, target, output).

        decoded: (batch, horizon, dim). linear: (batch, horizon, target, output), of which the part
        beyond the window's level is weighed.
        """
        # Under mixed precision eight bits would round the share, and all of the path with it, to
        # steps of nearly a percent.
        with full_precision(decoded):
            weight = nn.functional.linear(decoded.float(), self.weight, self.bias)
        share = 2 * weight.sigmoid()[..., None]
        level = scale.level[..., None]
        weighed: Tensor = level + share * (linear - level)
        return weighed
