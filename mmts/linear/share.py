"""How much of the linear path, and of the network beside it, goes into a forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmts.layers.full_precision import full_precision
from mmts.layers.window_norm import WindowScale

CAUTION = 0.02
"""Part of the loss that is charged for going the whole way with the middle of a forecast; for a
share of the way, its square of that: the first quarter has to gain .13 %, and the last one .9 %.
`benchmarks/caution.py` holds it against others on validation alone: a quarter of it and four times
it do as well; none at all does .2 % worse, but no worse where an earlier half has chosen for a
later one."""

_QUARTERS = (1.0, 0.75, 0.5, 0.25, 0.0)
_ROUNDING = 1e-6
"""Relative difference of losses that says nothing."""


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

    Quantiles that rise in both rise in what is between: unlike those of `torch.lerp`, all steps of
    this are monotone in floating point too.

    chosen: (2,), as in `Shares`. offered: what there is to choose from; without (0, 0), which is
    the linear path alone, as training finds it.
    """

    chosen: Tensor

    def __init__(self, outputs: Sequence[str]) -> None:
        """Go the whole way until something else is chosen; outputs: of the head."""
        super().__init__()
        place = outputs.index("0.5") if "0.5" in outputs else 0
        self.middle = slice(place, place + 1)
        self.has_spread = len(outputs) > 1
        pairs = [pair for pair in product(_QUARTERS, _QUARTERS) if any(pair)]
        self.offered = [Shares(*pair) for pair in pairs if self.has_spread or pair[0] == pair[1]]
        self.register_buffer("chosen", torch.ones(2))

    def forward(self, linear: Tensor, whole: Tensor) -> Tensor:
        """Return the forecast at the chosen shares.

        linear, whole: (batch, horizon, target, output). At (1, 1) it is `whole` to the bit.
        """
        middle, spread = self.chosen.unbind()
        alike = _between(linear, whole, middle)
        apart = alike[..., self.middle] + self._spread(linear, whole, spread)
        return torch.where(middle == spread, alike, apart)

    def each(self, linear: Tensor, whole: Tensor) -> Iterator[Tensor]:
        """Yield the forecast at each of the shares offered, as `forward` would say it."""
        spreads = {share: self._spread(linear, whole, share) for share in _QUARTERS}
        for middle, spread in self.offered:
            if middle == spread:
                yield _between(linear, whole, middle)
            else:
                between = _between(linear[..., self.middle], whole[..., self.middle], middle)
                yield between + spreads[spread]

    def choose(self, losses: Tensor, caution: float = CAUTION) -> Shares:
        """Return which of the shares offered are to be chosen for their losses on validation.

        losses: (share,). caution: see `CAUTION`. Not simply the least: the same windows have said
        when to stop, so that they flatter the network, and by more than it may be worth where it
        gains little. What each quarter of the way has to gain grows with the way, as in ridge
        regression. At the start, where the network says nothing, all are the same, and the whole
        way is chosen.
        """
        least = losses.min()
        if bool((losses - least <= _ROUNDING * least.abs()).all()):
            return Shares()
        middles = losses.new_tensor([shares.middle for shares in self.offered])
        return self.offered[int((losses + caution * least.abs() * middles**2).argmin())]

    def _spread(self, linear: Tensor, whole: Tensor, share: Tensor | float) -> Tensor:
        """Return how far outputs lie from their middle."""
        return _between(linear - linear[..., self.middle], whole - whole[..., self.middle], share)


def _between(linear: Tensor, whole: Tensor, share: Tensor | float) -> Tensor:
    return (1 - share) * linear + share * whole
