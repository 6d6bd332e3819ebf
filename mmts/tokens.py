"""Tokens with a place in time: what encoders make and interactions exchange."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenGrid:
    """Where tokens stand in time. All times are float32 seconds relative to the origin.

    start, end: (batch, token), the interval that a token describes; past the origin they are
        positive.
    available: (batch, token), when the content of a token became known; -inf when it always was.
        Never positive where `observed`, as a window holds nothing published after its origin.
    observed: (batch, token), bool; False where no observed value stands behind the token.
    ageless: whether time means nothing to these tokens (static streams).
    """

    start: Tensor
    end: Tensor
    available: Tensor
    observed: Tensor
    ageless: bool = False

    @property
    def middle(self) -> Tensor:
        """Return the middle of each token's interval, (batch, token): its position in time."""
        return (self.start + self.end) / 2

    @property
    def own_time(self) -> Tensor:
        """Return the moment as of which each token may look around, (batch, token).

        The end of its interval, yet never later than the origin: a token over the horizon is as
        if at the origin and sees nothing that was published after it.
        """
        return torch.clamp(self.end, max=0.0)


@dataclass(frozen=True)
class Tokens:
    """Values (batch, token, dim) on their grid."""

    values: Tensor
    grid: TokenGrid
