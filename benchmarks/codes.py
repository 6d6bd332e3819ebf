"""What stream A tells of the regimes: they themselves, or only which switches were thrown."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional


class Code(ABC):
    """How the regimes of the pairs are written into the events of stream A, one a pair.

    names: of the columns.
    """

    names: tuple[str, ...]

    @abstractmethod
    def encode(self, regimes: Tensor) -> Tensor:
        """Write regimes (window, pair) int64 as values (window, pair, column)."""


class OneHotCode(Code):
    """Each event holds the regime of its pair: whoever reads it knows the regime."""

    def __init__(self, num_regimes: int) -> None:
        """Give each regime a column."""
        self.names = tuple(f"r{r}" for r in range(num_regimes))

    def encode(self, regimes: Tensor) -> Tensor:
        """Write a one in the regime's column."""
        return functional.one_hot(regimes, len(self.names)).float()


class SwitchCode(Code):
    """Each event holds what changes with its pair: -1 for every switch that is thrown, else 1.

    The digits of the regime's number, as a binary number, are switches, all 0 before the first
    pair; a switch stands at the product of all that was told of it up to now. As regimes are drawn
    independently, so are the events. The regime of a pair therefore follows from its own event
    together with all before it, and where one of these is lacking the others tell nothing. The
    first pair's follows from one event; so there is something to learn before all is learned.
    """

    def __init__(self, num_regimes: int) -> None:
        """Give each switch a column; num_regimes: a power of two. One regime has an idle switch."""
        assert num_regimes & (num_regimes - 1) == 0
        self.names = tuple(f"s{d}" for d in range(max(1, (num_regimes - 1).bit_length())))

    def encode(self, regimes: Tensor) -> Tensor:
        """Write which switches are thrown from pair to pair."""
        digits = regimes[..., None] >> torch.arange(len(self.names)) & 1
        stands = 1.0 - 2.0 * digits
        before = torch.cat([torch.ones_like(stands[:, :1]), stands[:, :-1]], dim=1)
        return stands * before


CODES: dict[str, type[OneHotCode] | type[SwitchCode]] = {
    "regimes": OneHotCode,
    "switches": SwitchCode,
}
