"""How sure a difference between two models is that forecast the same windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BLOCK_HORIZONS = 4
"""Length of a block of origins at least, in horizons: windows reach from one into the next."""

MAX_BLOCKS = 100
NUM_DRAWS = 4_000
LEVEL = 0.95

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A difference of mean errors in percent of the mean error that it is compared with.

    low, high: its interval; NaN where there is but one block.
    """

    percent: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def cut_blocks(origins: npt.NDArray[np.int64], horizon: int) -> npt.NDArray[np.int64]:
    """Return the block of time that each origin lies in, (window,), from 0 without gaps.

    horizon: in the unit of the origins. All items share the blocks, as they share their weather.
    """
    first, last = int(origins.min()), int(origins.max())
    num_blocks = max(1, min(MAX_BLOCKS, (last - first) // (BLOCK_HORIZONS * horizon)))
    edges = np.linspace(first, last, num_blocks + 1)[1:-1]
    places = np.searchsorted(edges, origins, side="right")
    return np.unique(places, return_inverse=True)[1].astype(np.int64)


def sum_by_block(errors: Array, blocks: npt.NDArray[np.int64]) -> Array:
    """Add up the errors of each block, (block,); errors: (window, ...), zero where not observed."""
    sums = np.zeros(int(blocks.max()) + 1)
    np.add.at(sums, blocks, errors.reshape(len(errors), -1).sum(axis=1))
    return sums


def compare(errors: Array, base: Array, seed: int = 0) -> Difference:
    """Return the difference of a method to another on the same values.

    errors, base: (seed, block), summed errors; a method without seeds has one row.
    Each draw takes as many blocks as there are, and as many seeds, with replacement, and both
    methods by the same ones: what makes a stretch of time hard for both drops out. The interval
    so knows of the windows and, as far as so few seeds can tell, of another training.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), 8.6, on blocks.
    """
    assert errors.shape[1] == base.shape[1]
    num_seeds = max(len(errors), len(base))
    errors, base = (np.resize(sums, (num_seeds, sums.shape[1])) for sums in (errors, base))
    percent = 100 * (errors.sum() / base.sum() - 1)
    num_blocks = errors.shape[1]
    if num_blocks < 2:
        return Difference(float(percent), float("nan"), float("nan"))
    random = np.random.default_rng(seed)
    blocks = random.multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), NUM_DRAWS)
    seeds = random.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), NUM_DRAWS)
    drawn = [
        np.einsum("db,sb,ds->d", blocks, sums, seeds, optimize=True) for sums in (errors, base)
    ]
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(100 * (drawn[0] / drawn[1] - 1), [tail, 100 - tail])
    return Difference(float(percent), float(low), float(high))
