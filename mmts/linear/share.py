"""How much of the linear path, and of the network beside it, goes into a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

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


class Shares(NamedTuple):
    """How far a forecast goes from the linear path, 0, to what the whole model says, 1.

    middle: its median, or mean. spread: the distances from there to its other quantiles.
    """

    middle: float = 1.0
    spread: float = 1.0


class NetworkShare(nn.Module):
    """Goes only part of the way from the linear path to what the whole model says.

    A network that was fitted to few windows goes too far: the mean of both is often better than
    either (stacked regressions: Breiman, 1996, 10.1007/BF00117832). Where the middle of what comes
    lies, and how far it may be off, are learned unequally well. What parts are best, validation
    tells; training itself always goes the whole way.

    chosen: (2,), as in `Shares`. middle: which output is the median, or mean. offered: what there
    is to choose from. Nothing at all is what training begins with.
    """

    chosen: Tensor

    def __init__(self, outputs: Sequence[str]) -> None:
        """Go the whole way until something else is chosen; outputs: of the head."""
        super().__init__()
        self.middle = outputs.index("0.5") if "0.5" in outputs else 0
        steps = (1.0, 0.75, 0.5, 0.25, 0.0)
        pairs = product(steps, steps) if len(outputs) > 1 else zip(steps, steps, strict=True)
        self.offered = [Shares(*pair) for pair in pairs if any(pair)]
        self.register_buffer("chosen", torch.ones(2))

    def forward(self, linear: Tensor, whole: Tensor) -> Tensor:
        """Return a forecast between two, each (batch, horizon, target, output)."""
        return self.go(linear, whole, self.chosen)

    def go(self, linear: Tensor, whole: Tensor, shares: Tensor) -> Tensor:
        """Return the forecast at other shares, (2,); at (1, 1) it is the whole model's to the bit.

        Quantiles that rise in both rise in it: unlike those of `torch.lerp`, all steps of this are
        monotone in floating point too.
        """
        middle_share, spread_share = shares.unbind()
        alike = _between(linear, whole, middle_share)
        middle = slice(self.middle, self.middle + 1)
        spread = _between(linear - linear[..., middle], whole - whole[..., middle], spread_share)
        apart = alike[..., middle] + spread
        return torch.where(middle_share == spread_share, alike, apart)


def _between(linear: Tensor, whole: Tensor, share: Tensor) -> Tensor:
    return (1 - share) * linear + share * whole
