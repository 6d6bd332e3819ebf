"""Weights that depend on the seed and on a name, and on nothing that was built before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Draw what is built inside from a generator of its own.

    So a new part of a model leaves the weights of all other parts as they were.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    # Weights are drawn on the CPU; forking the state of GPUs would only cost time.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        yield


def keep_variance(projection: nn.Linear) -> None:
    """Let values of variance one go out with variance one; PyTorch's own start leaves a third.

    What stands before a projection that starts at zero sets the pace at which that one learns.
    """
    nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
