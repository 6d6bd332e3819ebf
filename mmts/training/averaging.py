"""Averaging weights over the last part of a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mmts.training.step_number import StepNumber


class WeightAverage:
    """A running mean of weights that forgets in proportion to how long it has run.

    Of n steps about the last n / (order + 1) count, the latest most; so it needs no length to be
    chosen, and drags no beginning along. Source: polynomial-decay averaging, arXiv 1212.1824.
    """

    def __init__(self, weights: Sequence[Tensor], order: int) -> None:
        """Begin at weights where they lie; order: the larger, the fewer steps count."""
        self.weights = [weight.detach() for weight in weights]
        self.order = order
        self.mean = [weight.clone() for weight in self.weights]
        self.kept = StepNumber(self.weights[0].device)

    def prepare(self, step: int) -> None:
        """Set how much of the mean a step leaves, counted from 0."""
        self.kept.set(step / (step + 1 + self.order))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after the step that was prepared."""
        kept = self.kept.value
        if isinstance(kept, Tensor):
            # As below, for which the share has to be a float.
            apart = torch._foreach_sub(self.weights, self.mean)
            torch._foreach_mul_(apart, 1 - kept)
            torch._foreach_add_(self.mean, apart)
            return
        # Torch has no types for it.
        average = get_ema_multi_avg_fn(kept)  # type: ignore[no-untyped-call]
        average(self.mean, self.weights, None)

    @torch.no_grad()
    def take_up(self, mean: Sequence[Tensor]) -> None:
        """Go on with the mean of an earlier training."""
        for own, other in zip(self.mean, mean, strict=True):
            own.copy_(other)

    @torch.no_grad()
    def swap(self) -> None:
        """Let the mean and the weights change places: it stands where they stood, or back."""
        for weight, mean in zip(self.weights, self.mean, strict=True):
            latest = weight.clone()
            weight.copy_(mean)
            mean.copy_(latest)
