"""Fading of what is old."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmts.interactions.alignment import Aligned

_INITIAL_RATE = -5.0
"""Before softplus: a value of 100 forecast steps keeps half of its weight."""


class AgeDecay(nn.Module):
    """A learned rate at which an as-of value loses weight with its age.

    Source: exponential decay of inputs in GRU-D, arXiv 1606.01865.
    """

    def __init__(self, time_unit: float) -> None:
        """Build; time_unit: seconds per forecast step."""
        super().__init__()
        self.time_unit = time_unit
        self.rate = nn.Parameter(torch.tensor(_INITIAL_RATE))

    def forward(self, aligned: Aligned) -> Tensor:
        """Return the weight of each token, (batch, token, 1); zero where nothing is present."""
        age = aligned.age.clamp(min=0.0) / self.time_unit
        weight = torch.exp(-functional.softplus(self.rate) * age)
        return (weight * aligned.present)[..., None]


class NoDecay(nn.Module):
    """The same for sources without an age."""

    def forward(self, aligned: Aligned) -> Tensor:
        """Return one where something is present, (batch, token, 1)."""
        return aligned.present[..., None].float()


def build_decay(ageless: bool, time_unit: float) -> nn.Module:
    """Return the decay for a source; one without an age has nothing to learn."""
    return NoDecay() if ageless else AgeDecay(time_unit)
