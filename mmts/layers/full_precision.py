"""Arithmetic that mixed precision leaves alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Asked once: a compiled model would stop at the question.
_ROUNDS = frozenset(
    device for device in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(device)
)


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Return a context in which nothing is rounded to fewer bits on the device of a tensor."""
    device = like.device.type
    if device in _ROUNDS:
        return torch.autocast(device, enabled=False)
    return nullcontext()
