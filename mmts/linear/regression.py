"""Linear maps in closed form for many outputs, each missing in other rows, and deaf to outliers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

HUBER = 1.345
"""Residuals beyond so many of their spreads count as that far away: with normal errors this keeps
95 % of the efficiency of least squares (Huber, Robust Estimation of a Location Parameter, 1964)."""

MAX_DOUBLE = 1500
"""Unknowns up to which systems are solved in float64, which takes several times longer."""

MAX_ROUNDS = 50
TOLERANCE = 3e-3
"""Rounds end after so many, or when fitted values move by less than this in the root mean square,
in the unit of the targets."""

ROUNDING = 1e-7
"""Where the loss would fall by less than this part of what the mean alone leaves open, rounding
says where to."""

MAX_NUMBERS = 2**25
"""Numbers of fitted values that are held at a time, 128 MiB: outputs are solved in blocks."""


class Solution(NamedTuple):
    """weights: (feature, output). intercepts: (output,).

    Neither is finite where the penalty was too small for the system to be solved.
    """

    weights: Tensor
    intercepts: Tensor


class _Map(NamedTuple):
    """Where rounds have arrived, or how far they go.

    weights: (feature, output). intercepts: (output,), of rows less their mean. fitted:
    (row, output), what they say.
    """

    weights: Tensor
    intercepts: Tensor
    fitted: Tensor

    def moved(self, way: _Map, length: Tensor) -> _Map:
        """Go so far, (output,), along a way."""
        return _Map(
            *(torch.addcmul(mine, its, length) for mine, its in zip(self, way, strict=True))
        )


class RidgeProblem:
    """Minimises, for each output, the loss of y - X w - b, plus penalty * |w|^2 per row.

    The loss is the square, or with `is_robust` that of Huber, over the rows where the output was
    observed. One system serves all outputs, whatever of them is missing: each round puts what the
    map says in the place of what is missing, brings outliers nearer to the map, and solves again
    (expectation maximisation; modified residuals: Huber and Dutter, 1974). Where little was
    observed, that alone would take hundreds of rounds: what it says is the direction of a method
    of conjugate gradients, of which it is the preconditioner (Fletcher and Reeves, 1964).
    Penalties are per row, so that a choice of them suits any number of rows; the intercept is not
    penalised.

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

    def solve(
        self, penalties: Sequence[float], outputs: Tensor, start: Solution | None = None
    ) -> Iterator[Solution]:
        """Yield one map of some outputs, (output,) int64, per penalty.

        start: a map of these outputs that is near, which saves rounds.
        """
        blocks = torch.split(outputs, max(1, MAX_NUMBERS // len(self.rows)))
        # Each goes out from where the one before arrived.
        arrived: list[_Map | None] = [None] * len(blocks)
        if start is not None:
            places = torch.split(torch.arange(len(outputs)), len(blocks[0]))
            arrived = [self._placed(start, block) for block in places]
        for number, penalty in enumerate(penalties, start=1):
            factor = self._factorise(penalty)
            if factor is None:
                shape = (self.rows.shape[1], len(outputs))
                yield Solution(torch.full(shape, torch.nan), torch.full(shape[1:], torch.nan))
                continue
            solutions = []
            for place, block in enumerate(blocks):
                found = self._search(penalty, factor, block, arrived[place])
                arrived[place] = found if number < len(penalties) else None
                intercepts = found.intercepts - self.mean @ found.weights
                solutions.append(Solution(found.weights, intercepts))
            yield Solution(
                torch.cat([solution.weights for solution in solutions], dim=1),
                torch.cat([solution.intercepts for solution in solutions]),
            )

    def freedom(self, penalty: float) -> float:
        """Return at most how many numbers are fitted to the rows of an output.

        The degrees of freedom of ridge regression, of which the spread of the system's eigenvalues
        takes away.
        """
        typical = float(self.system.diagonal().mean())
        return len(self.system) * typical / (typical + penalty) if typical else 0.0

    def _factorise(self, penalty: float) -> Tensor | None:
        """Return the Cholesky factor of the system, or None where it cannot be solved."""
        system = self.system.clone()
        system.diagonal().add_(penalty)
        factor, failed = torch.linalg.cholesky_ex(system)
        return None if failed else factor

    def _search(self, penalty: float, factor: Tensor, outputs: Tensor, start: _Map | None) -> _Map:
        """Go on from the start until nothing moves any more."""
        truth, observed = self.targets[:, outputs], self.observed[:, outputs]
        mean_alone = self._mean_alone(truth, observed)
        here = start or mean_alone
        least = (truth - mean_alone.fitted).square().masked_fill(~observed, 0.0).mean(dim=0)
        least = ROUNDING * least
        takes_rounds = self.is_robust or not bool(observed.all())
        way, slope_before = None, None
        for number in range(MAX_ROUNDS if takes_rounds else 1):
            pull = (truth - here.fitted).masked_fill(~observed, 0.0)
            pulls_fully = observed
            if self.is_robust and not (start is None and number == 0):
                limit = HUBER * _spread(pull, observed)
                pulls_fully = observed & (pull.abs() <= limit)
                pull = pull.clamp(-limit, limit)
            there = self._solve(factor, here.fitted + pull)
            if not takes_rounds:
                return there
            ahead = _Map(*(its - mine for mine, its in zip(here, there, strict=True)))
            slope = self._slope(penalty, pull, here, ahead)
            if way is None or slope_before is None:
                way = ahead
            else:
                way = ahead.moved(way, (slope / slope_before).nan_to_num(0.0, 0.0, 0.0))
                # What outliers weigh has changed: where that way no longer leads down, begin anew.
                is_down = self._slope(penalty, pull, here, way) > 0
                way = _Map(*(torch.where(is_down, w, a) for w, a in zip(way, ahead, strict=True)))
            slope_before = slope
            is_rounding = slope <= least
            bend = way.fitted.square().masked_fill(~pulls_fully, 0.0).mean(dim=0)
            bend = bend + penalty * way.weights.square().sum(dim=0)
            length = self._slope(penalty, pull, here, way) / bend
            length = length.nan_to_num(0.0, 0.0, 0.0).masked_fill(is_rounding, 0.0)
            here = here.moved(way, length)
            step = way.fitted.square().mean(dim=0) * length.square()
            if float(step.mean()) < TOLERANCE**2:
                break
        return here

    def _placed(self, solution: Solution, outputs: Tensor) -> _Map:
        """Return where some outputs of a solution are, (output,) int64, among these rows."""
        weights = solution.weights[:, outputs]
        intercepts = solution.intercepts[outputs] + self.mean @ weights
        return _Map(weights, intercepts, torch.addmm(intercepts, self.rows, weights))

    def _mean_alone(self, truth: Tensor, observed: Tensor) -> _Map:
        """Return the map that says the mean of what was observed."""
        means = truth.sum(dim=0) / observed.sum(dim=0).clamp(min=1)
        weights = truth.new_zeros(self.rows.shape[1], truth.shape[1])
        return _Map(weights, means, means.expand_as(truth))

    def _solve(self, factor: Tensor, aims: Tensor) -> _Map:
        """Return the map that comes nearest to these aims, (row, output)."""
        intercepts = aims.mean(dim=0)
        weights = self._project(factor, aims - intercepts)
        return _Map(weights, intercepts, torch.addmm(intercepts, self.rows, weights))

    def _slope(self, penalty: float, pull: Tensor, here: _Map, way: _Map) -> Tensor:
        """Return how fast the loss falls on this way, (output,)."""
        falls = (pull * way.fitted).mean(dim=0)
        return falls - penalty * (here.weights * way.weights).sum(dim=0)

    def _project(self, factor: Tensor, aims: Tensor) -> Tensor:
        """Return the weights for aims whose mean is zero, (row, output)."""
        # This way round, the product is several times faster for few outputs.
        right = aims if self.is_dual else (aims.T @ self.rows).T
        solved = torch.cholesky_solve(right.to(factor.dtype), factor).float() / len(aims)
        return self.rows.T @ solved if self.is_dual else solved


def _spread(missed: Tensor, observed: Tensor) -> Tensor:
    """Return the spread of each output's residuals, (output,), from their median distance."""
    distances = missed.abs().masked_fill(~observed, torch.nan)
    median = distances.nanmedian(dim=0).values.nan_to_num(nan=0.0)
    return (median / 0.6745).clamp(min=1e-6)
