"""Linear maps in closed form for many outputs, each missing in other rows, and deaf to outliers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

HUBER = 1.345
"""Residuals beyond so many of their spreads count as that far away: with normal errors this keeps
95 % of the efficiency of least squares (Huber, Robust Estimation of a Location Parameter, 1964)."""

MAX_DOUBLE = 1500
"""Unknowns up to which systems are solved in float64, which takes several times longer."""

MAX_ROUNDS = 20
TOLERANCE = 3e-3
"""Rounds end after so many, or when fitted values move by less than this in the root mean square,
in the unit of the targets. Those that are never observed together move slowest."""


class Solution(NamedTuple):
    """weights: (feature, output). intercepts: (output,).

    Neither is finite where the penalty was too small for the system to be solved.
    """

    weights: Tensor
    intercepts: Tensor


class RidgeProblem:
    """Minimises, for each output, the loss of y - X w - b, plus penalty * |w|^2 per row.

    The loss is the square, or with `is_robust` that of Huber, over the rows where the output was
    observed. One system serves all outputs, whatever of them is missing: each round puts what the
    map says in the place of what is missing, brings outliers nearer to the map, and solves again
    (expectation maximisation; modified residuals: Huber and Dutter, 1974). Penalties are per row,
    so that a choice of them suits any number of rows; the intercept is not penalised.

    The unknowns are the weights of features, or of rows where these are fewer (the dual).
    """

    def __init__(self, rows: Tensor, targets: Tensor, observed: Tensor, is_robust: bool) -> None:
        """Take in rows (row, feature), targets (row, output), and whether they were observed."""
        self.mean = rows.mean(dim=0, dtype=torch.float64).float()
        self.rows = rows - self.mean
        self.targets, self.observed, self.is_robust = targets, observed, is_robust
        self.is_dual = rows.shape[0] < rows.shape[1]
        left = self.rows if self.is_dual else self.rows.T
        if min(rows.shape) <= MAX_DOUBLE:
            left = left.double()
        self.system = (left @ left.T) / len(rows)

    def solve(self, penalties: Iterable[float], outputs: Tensor) -> Iterator[Solution]:
        """Yield one map of some outputs, (output,) int64, per penalty."""
        # Each goes out from where the one before arrived, which saves rounds.
        fitted: Tensor | None = None
        for penalty in penalties:
            solution, fitted = self._solve(penalty, outputs, fitted)
            yield solution

    def _solve(
        self, penalty: float, outputs: Tensor, fitted: Tensor | None
    ) -> tuple[Solution, Tensor | None]:
        system = self.system.clone()
        system.diagonal().add_(penalty)
        factor, failed = torch.linalg.cholesky_ex(system)
        if failed:
            shape = (self.rows.shape[1], len(outputs))
            nothing = Solution(torch.full(shape, torch.nan), torch.full(shape[1:], torch.nan))
            return nothing, fitted
        truth, observed = self.targets[:, outputs], self.observed[:, outputs]
        is_first = fitted is None
        if fitted is None:
            # The mean of what was observed stands for what was not.
            count = observed.sum(dim=0).clamp(min=1)
            fitted = (truth.sum(dim=0) / count).expand_as(truth)
        needs_rounds = self.is_robust or not bool(observed.all())
        for number in range(MAX_ROUNDS if needs_rounds else 1):
            missed = (truth - fitted).masked_fill(~observed, 0.0)
            if self.is_robust and not (is_first and number == 0):
                limit = HUBER * _spread(missed, observed)
                missed = missed.clamp(-limit, limit)
            aims = fitted + missed
            intercepts = aims.mean(dim=0)
            weights = self._project(factor, aims - intercepts)
            before, fitted = fitted, torch.addmm(intercepts, self.rows, weights)
            if float((fitted - before).square().mean()) < TOLERANCE**2:
                break
        return Solution(weights, intercepts - self.mean @ weights), fitted

    def _project(self, factor: Tensor, aims: Tensor) -> Tensor:
        """Return the weights that come nearest to these aims, (row, output)."""
        # This way round, the product is several times faster for few outputs.
        right = aims if self.is_dual else (aims.T @ self.rows).T
        solved = torch.cholesky_solve(right.to(factor.dtype), factor).float() / len(aims)
        return self.rows.T @ solved if self.is_dual else solved


def _spread(missed: Tensor, observed: Tensor) -> Tensor:
    """Return the spread of each output's residuals, (output,), from their median distance."""
    distances = missed.abs().masked_fill(~observed, torch.nan)
    median = distances.nanmedian(dim=0).values.nan_to_num(nan=0.0)
    return (median / 0.6745).clamp(min=1e-6)
