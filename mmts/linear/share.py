"""How much of the linear path, and of the network beside it, goes into a forecast."""

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


class NetworkShare(nn.Module):
    """Goes only part of the way from the linear path to what the whole model says.

    A network that was fitted to few windows goes too far: the mean of both is often better than
    either (stacked regressions: Breiman, 1996, 10.1007/BF00117832). What part is best, validation
    tells; training itself always goes the whole way.
    """

    OFFERED = (1.0, 0.75, 0.5, 0.25)
    """What there is to choose from. Nothing at all is what training begins with."""

    chosen: Tensor

    def __init__(self) -> None:
        """Go the whole way until something else is chosen."""
        super().__init__()
        self.register_buffer("chosen", torch.ones(()))

    def forward(self, linear: Tensor, whole: Tensor) -> Tensor:
        """Return a forecast between two, each (batch, horizon, target, output)."""
        return go_part_of_the_way(linear, whole, self.chosen)


def go_part_of_the_way(linear: Tensor, whole: Tensor, share: Tensor | float) -> Tensor:
    """Return the forecast that lies at a share of the way, 1 being the whole model's to the bit.

    Quantiles that rise in both rise in it: unlike those of `torch.lerp`, all steps of this are
    monotone in floating point too.
    """
    return (1 - share) * linear + share * whole
