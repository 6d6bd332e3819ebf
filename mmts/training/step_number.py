"""Numbers that change from step to step."""

from __future__ import annotations

import torch
from torch import Tensor


class StepNumber:
    """A number that is another one in each step: on a GPU it lies there, else it is a float.

    A recorded step reads it where it lies; a float would stay what it was when it was recorded.
    """

    def __init__(self, device: torch.device) -> None:
        """Start at zero."""
        self.value: float | Tensor = 0.0
        if device.type == "cuda":
            self.value = torch.zeros((), device=device)

    def set(self, number: float) -> None:
        """Change it, without waiting for the device."""
        if isinstance(self.value, Tensor):
            self.value.fill_(number)
        else:
            self.value = number
