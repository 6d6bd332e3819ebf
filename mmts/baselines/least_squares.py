"""Ridge regression in closed form, for many outputs of which each is missing in other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RowReader = Callable[[Tensor], Tensor]
"""Maps places of rows, (row,) int64, to their features, (row, feature)."""

CHUNK = 512
"""Rows read at once; larger chunks are slower, as their memory is new each time."""

BLOCK = 1024
"""Columns of a symmetric matrix that are computed at once, without those above the diagonal."""

MAX_DOUBLE = 1500
"""Unknowns up to which systems are solved in float64, which takes several times longer."""


@dataclass(frozen=True)
class LinearMaps:
    """One linear map per penalty.

    weights: (penalty, feature, output). intercepts: (penalty, output).
    Not finite where a penalty was too small for a system to be solved.
    """

    weights: Tensor
    intercepts: Tensor


class RidgeProblem:
    """Minimises, for each output, |y - X w - b|^2 + penalty * rows * |w|^2 over its observed rows.

    Penalties are per observed row, so that a choice of them suits any number of rows. The
    intercept b is not penalised. An output that is never observed gets a map to zero.

    Outputs observed in the same rows share one system; it is in the features when rows are more
    than those, and else in the rows (the dual). The rows are read in chunks, and memory holds a few
    matrices of (feature, feature), or in the dual of (row, feature). In operations, all rows take
    rows * features^2, so do the rows by which masks differ from one to the next, and each mask and
    penalty takes features^3 / 3: 24 masks of 19,000 rows and 3,500 features half a minute on two
    cores.
    """

    def __init__(self, read: RowReader, targets: Tensor, observed: Tensor) -> None:
        """Take in the rows; float32 is exact enough where the features' means are near zero.

        targets: (row, output), zero where not observed. observed: (row, output) bool.
        """
        self.num_rows, self.num_outputs = targets.shape
        self.num_features = read(torch.zeros(1, dtype=torch.int64)).shape[1]
        self.masks, self.members = _group_outputs(observed)
        unknowns = min(self.num_rows, self.num_features)
        dtype = torch.float64 if unknowns <= MAX_DOUBLE else torch.float32
        moments = _FeatureMoments if self.num_features <= self.num_rows else _RowMoments
        self._moments = moments(read, targets.to(dtype), self.masks)

    def solve(self, penalties: Sequence[float], outputs: Tensor | None = None) -> LinearMaps:
        """Return the maps of some outputs, (output,) int64, or of all; others are left zero."""
        shape = (len(penalties), self.num_features, self.num_outputs)
        maps = LinearMaps(torch.zeros(shape), torch.zeros(shape[0], shape[2]))
        for mask, members in enumerate(self.members):
            chosen = members if outputs is None else members[torch.isin(members, outputs)]
            if len(chosen) and self.masks[:, mask].any():
                weights, intercepts = self._moments.solve(mask, chosen, penalties)
                maps.weights[:, :, chosen] = weights.float()
                maps.intercepts[:, chosen] = intercepts.float()
        return maps


def in_chunks(rows: Tensor) -> Iterator[Tensor]:
    """Yield (row,) in pieces of `CHUNK`."""
    for begin in range(0, len(rows), CHUNK):
        yield rows[begin : begin + CHUNK]


def _group_outputs(observed: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the distinct masks, (row, mask), in order of outputs, and the outputs of each."""
    packed = np.packbits(observed.numpy(), axis=0)
    _, first, group = np.unique(packed, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(first)
    members = [torch.from_numpy(np.flatnonzero(group.reshape(-1) == place)) for place in order]
    return observed[:, torch.from_numpy(first[order])], members


class _FeatureMoments:
    """Sums over rows, from which follow systems with one unknown per feature.

    The Gram matrix of a mask is that of the mask before, or of all rows, less and plus the rows by
    which they differ: masks of neighbouring steps are nearly the same.
    """

    def __init__(self, read: RowReader, targets: Tensor, masks: Tensor) -> None:
        self.read, self.targets, self.masks = read, targets, masks
        num_features = read(torch.zeros(1, dtype=torch.int64)).shape[1]
        dtype = targets.dtype
        # Of symmetric matrices only the part up to the diagonal is kept.
        self.whole = torch.zeros(num_features, num_features, dtype=dtype)
        self.products = torch.zeros(num_features, targets.shape[1], dtype=dtype)
        self.sums = torch.zeros(num_features, masks.shape[1], dtype=dtype)
        for rows in in_chunks(torch.arange(len(targets))):
            features = read(rows).to(dtype)
            _add_products(self.whole, features, 1)
            self.products.addmm_(features.T, targets[rows])
            self.sums.addmm_(features.T, masks[rows].to(dtype))
        self.gram = self.whole.clone()
        self.rows_in_gram = torch.ones(len(targets), dtype=torch.bool)

    def solve(
        self, mask: int, outputs: Tensor, penalties: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Return weights (penalty, feature, output) and intercepts (penalty, output)."""
        observed = self.masks[:, mask]
        self._move_gram_to(observed)
        count = int(observed.sum())
        mean = self.sums[:, mask] / count
        level = self.targets[:, outputs].sum(dim=0) / count
        right = self.products[:, outputs] - count * torch.outer(mean, level)
        # Centred here and not in the rows, which the masks share.
        centred = torch.addr(self.gram, mean, mean, alpha=-count)
        weights = _solve_penalised(centred, right, [penalty * count for penalty in penalties])
        return weights, level - torch.einsum("pfo,f->po", weights, mean)

    def _move_gram_to(self, observed: Tensor) -> None:
        if (observed != self.rows_in_gram).sum() > (~observed).sum():
            self.gram.copy_(self.whole)
            self.rows_in_gram = torch.ones_like(observed)
        for chosen, sign in (
            (observed & ~self.rows_in_gram, 1),
            (self.rows_in_gram & ~observed, -1),
        ):
            for rows in in_chunks(torch.nonzero(chosen).flatten()):
                _add_products(self.gram, self.read(rows).to(self.gram.dtype), sign)
        self.rows_in_gram = observed


class _RowMoments:
    """Products of rows, from which follow systems with one unknown per row."""

    def __init__(self, read: RowReader, targets: Tensor, masks: Tensor) -> None:
        self.targets, self.masks = targets, masks
        rows = in_chunks(torch.arange(len(targets)))
        self.features = torch.cat([read(chunk) for chunk in rows]).to(targets.dtype)
        self.products = self.features @ self.features.T

    def solve(
        self, mask: int, outputs: Tensor, penalties: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Return weights (penalty, feature, output) and intercepts (penalty, output)."""
        rows = torch.nonzero(self.masks[:, mask]).flatten()
        kernel = self.products[rows][:, rows]
        row_means = kernel.mean(dim=0)
        centred = kernel - row_means - row_means[:, None] + row_means.mean()
        targets = self.targets[rows][:, outputs]
        level = targets.mean(dim=0)
        penalties = [penalty * len(rows) for penalty in penalties]
        dual = _solve_penalised(centred, targets - level, penalties)
        # The weights of the rows sum to zero, so that the mean of the features drops out.
        features = self.features[rows]
        weights = torch.einsum("rf,pro->pfo", features, dual)
        return weights, level - torch.einsum("pfo,f->po", weights, features.mean(dim=0))


def _add_products(gram: Tensor, features: Tensor, sign: int) -> None:
    """Add, or take away, the products of all pairs of features, up to the diagonal and some."""
    for begin in range(0, len(gram), BLOCK):
        end = begin + BLOCK
        gram[begin:, begin:end].addmm_(features[:, begin:].T, features[:, begin:end], alpha=sign)


def _solve_penalised(matrix: Tensor, right: Tensor, penalties: Sequence[float]) -> Tensor:
    """Solve (matrix + penalty) x = right for each penalty, (penalty, unknown, output).

    Reads the matrix up to its diagonal only.
    """
    system, factor = torch.empty_like(matrix), torch.empty_like(matrix)
    failed = torch.empty((), dtype=torch.int32)
    solutions = []
    for penalty in penalties:
        system.copy_(matrix).diagonal().add_(penalty)
        torch.linalg.cholesky_ex(system, out=(factor, failed))
        solved = torch.cholesky_solve(right, factor)
        solutions.append(torch.full_like(solved, torch.nan) if failed else solved)
    return torch.stack(solutions)
