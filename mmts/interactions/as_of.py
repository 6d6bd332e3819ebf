"""A source as each target token knows it: aligned, normalised, faded with its age."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmts.interactions.alignment import Aligned, Reach, align
from mmts.interactions.base import NodeSpec, normalise
from mmts.interactions.centring import Centring
from mmts.tokens import TokenGrid, Tokens

_INITIAL_RATE = -5.0
"""Before softplus: a value of 100 forecast steps keeps half of its weight."""


class AsOf(nn.Module):
    """Reads one source as of each target token.

    What is old loses weight at a learned rate, and says how old it is in a channel of its own:
    a stale value is then known as stale, and not only small.
    Source: exponential decay of inputs in GRU-D, arXiv 1606.01865.

    dim: channels read, the source's and, where it has an age, one for that.
    """

    def __init__(self, target: NodeSpec, source: NodeSpec, reach: Reach, time_unit: float) -> None:
        """Build for one pair of nodes; time_unit: seconds per forecast step."""
        super().__init__()
        self.reach = reach
        self.time_unit = time_unit
        # Tokens of one stream lie on one grid: each reads itself, and none is older than another.
        self.same_stream = source.stream == target.stream
        self.rate: nn.Parameter | None = None
        if not (source.ageless or self.same_stream):
            self.rate = nn.Parameter(torch.tensor(_INITIAL_RATE))
        self.dim = source.dim + (self.rate is not None)
        self.centring = Centring(self.dim)

    def forward(self, target: TokenGrid, source: Tokens) -> tuple[Tensor, Tensor]:
        """Return what is read, (batch, token, dim), and whether there is any, (batch, token).

        Exactly zero where there is none.
        """
        aligned = self._align(target, source)
        values = normalise(aligned.values)
        if self.rate is None:
            return self.centring(values, aligned.present), aligned.present
        age = torch.log1p(self._steps_old(aligned))[..., None].to(values.dtype)
        read = self.centring(torch.cat([values, age], dim=-1), aligned.present)
        fade = self._fade(aligned)[..., None].to(values.dtype)
        return torch.cat([read[..., :-1] * fade, read[..., -1:]], dim=-1), aligned.present

    def shares(self, target: TokenGrid, source: Tokens) -> Tensor:
        """Return the faded weight of each source token, (batch, token, source token)."""
        aligned = self._align(target, source)
        return aligned.weights * self._fade(aligned)[..., None]

    def sees(self, target: TokenGrid, source: Tokens) -> Tensor:
        """Return whether there is anything to read, however old, (batch, token) bool."""
        return self._align(target, source).present

    def _align(self, target: TokenGrid, source: Tokens) -> Aligned:
        if not self.same_stream:
            return align(target, source, self.reach)
        observed = source.grid.observed.float()
        values = source.values * observed[..., None].to(source.values.dtype)
        return Aligned(values, torch.zeros_like(target.end), torch.diag_embed(observed))

    def _fade(self, aligned: Aligned) -> Tensor:
        if self.rate is None:
            return aligned.present.float()
        decay = torch.exp(-functional.softplus(self.rate.float()) * self._steps_old(aligned))
        return decay * aligned.present

    def _steps_old(self, aligned: Aligned) -> Tensor:
        return aligned.age.clamp(min=0.0) / self.time_unit
