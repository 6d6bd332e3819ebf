"""Running means that stay the same in all processes."""

from __future__ import annotations

import torch
from torch import nn

from mmts.interactions.centring import Centring
from mmts.training.processes import Processes


class RunningMeans:
    """Makes of the running means that processes hold the one that a single process would hold."""

    def __init__(self, model: nn.Module, processes: Processes) -> None:
        """Find the running means of a model that is the same in all processes."""
        self.processes = processes
        self.centrings = [module for module in model.modules() if isinstance(module, Centring)]

    @torch.no_grad()
    def even_out(self) -> None:
        """Make the means the same again, after each process has trained on its part of a batch.

        All were the same, and each has gone the same share of the way to the mean of its own
        tokens. Weighted by how many these are, they have gone that far to the mean of all tokens.
        """
        if self.processes.count == 1 or not self.centrings:
            return
        parts = []
        for centring in self.centrings:
            parts += [centring.mean * centring.num_tokens, centring.num_tokens[None]]
        sums = torch.split(self.processes.add_up(torch.cat(parts)), [len(part) for part in parts])
        for centring, total, count in zip(self.centrings, sums[::2], sums[1::2], strict=True):
            # Where no process saw a token, none of them has gone anywhere.
            centring.mean.copy_(torch.where(count > 0, total / count.clamp(min=1), centring.mean))
