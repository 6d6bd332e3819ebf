"""What a source usually holds, taken out of what an edge reads of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MEMORY = 50
"""Training steps that are remembered: until there are as many, the mean is of all of them."""


class Centring(nn.Module):
    """Subtracts a running mean per channel, so that an edge carries only what changes.

    A constant needs no source. An edge that may add one learns it even from pure noise, and then
    seems strong and costs something to switch off. The mean is that of training, kept in a buffer,
    and no gradient runs through it.
    num_steps: () float32, training steps so far, up to those that are remembered.
    num_tokens: () float32, how many the last training step took into the mean.
    Source: mean-only batch normalisation, arXiv 1602.07868, here with the running mean throughout.
    """

    mean: Tensor
    num_steps: Tensor
    num_tokens: Tensor

    def __init__(self, dim: int) -> None:
        """Build for a number of channels."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("num_steps", torch.zeros(()))
        self.register_buffer("num_tokens", torch.zeros(()), persistent=False)

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """Return centred values, (batch, token, dim), exactly zero where not present.

        values: (batch, token, dim). present: (batch, token) bool; others are not counted.
        """
        centred = values - self.mean.to(values.dtype)
        if self.training:
            # Afterwards, so that no window depends on the others of its batch.
            self._follow(values.detach(), present)
        return torch.where(present[..., None], centred, 0.0)

    @torch.no_grad()
    def _follow(self, values: Tensor, present: Tensor) -> None:
        count = present.sum()
        counted = torch.where(present[..., None], values.float(), 0.0)
        mean = counted.sum(dim=(0, 1)) / count.clamp(min=1)
        self.num_tokens.copy_(count)
        self.num_steps.copy_((self.num_steps + 1).clamp(max=_MEMORY))
        self.mean += (mean - self.mean) * ((count > 0) / self.num_steps)
