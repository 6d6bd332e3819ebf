"""How large errors are, by their sizes and by their squares."""

from __future__ import annotations

from typing import NamedTuple, Self

from torch import Tensor

from mmts.linear.confidence import is_better


class WindowErrors(NamedTuple):
    """Means within each window of the errors' sizes and squares, (window,) float64."""

    sizes: Tensor
    squares: Tensor

    @classmethod
    def of(cls, missed: Tensor) -> Self:
        """Summarise errors, (window, horizon, target), NaN where the target is missing."""
        observed = ~missed.isnan()
        missed = missed.double().masked_fill(~observed, 0.0)
        count = observed.sum(dim=(1, 2)).clamp(min=1)
        sums = (losses.sum(dim=(1, 2)) for losses in (missed.abs(), missed.square()))
        return cls(*(total / count for total in sums))

    def overall(self, is_robust: bool) -> float:
        """Return one number for all windows, see `overall_error`."""
        return overall_error(self.sizes.mean(), self.squares.mean(), is_robust)

    def are_surely_less(
        self, simple: WindowErrors, origins: Tensor, span: int, is_robust: bool
    ) -> bool:
        """Return whether these are less beyond chance than those of a simpler forecast.

        Where that is robust, by sizes or by squares, so that chance has two tries, though nearly
        the same ones; and less by both together.
        origins, span: as in `is_better`.
        """
        by_sizes, by_squares = (
            is_better(before, after, origins, span)
            for before, after in zip(simple, self, strict=True)
        )
        if not is_robust:
            return by_squares
        return (by_sizes or by_squares) and self.overall(True) < simple.overall(True)


def overall_error(sizes: Tensor, squares: Tensor, is_robust: bool) -> float:
    """Return one number for the mean size and the mean square of errors, each ().

    Where that is robust both count alike, and else squares alone. What makes small errors smaller
    by a hair and large ones larger by percents is no gain.
    """
    return float(sizes * squares.sqrt() if is_robust else squares)


def summed_errors(missed: Tensor, observed: Tensor, is_robust: bool) -> float:
    """Return one number for all of missed, (row, output), see `overall_error`."""
    missed = missed.double().masked_fill(~observed, 0.0)
    return overall_error(missed.abs().sum(), missed.square().sum(), is_robust)
