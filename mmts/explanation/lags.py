"""How far back an edge reads: shares by lag, in real time, summed batch by batch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmts.tokens import TokenGrid

MAX_BINS = 24
"""Bins that a profile is shown in, at most."""

MIN_BINS = 4
"""Fewer are not made for their standing side by side."""

_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
_DAY = 24 * _HOUR

# Microseconds. Each divides the next, so that fine bins can be poured into coarse ones.
_WIDTHS = (
    *(1_000, 10_000, 100_000, _SECOND, 5 * _SECOND, 15 * _SECOND, 30 * _SECOND),
    *(_HOUR // 60, _HOUR // 12, _HOUR // 4, _HOUR // 2, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 7 * _DAY, 28 * _DAY, 364 * _DAY, 3_640 * _DAY, 36_400 * _DAY),
)

_FINE_BINS = 200


@dataclass(frozen=True)
class LagProfile:
    """Where in time an edge reads a source.

    width: of a bin, in microseconds. first: lower end of the first bin, a multiple of it; negative
    where what is read lies after the end of the target token.
    shares: (bin,), mean over target tokens; they sum to the share of the source. even: what they
    would be if each target token spread its share evenly over all that it may read.
    median: lag, in microseconds, within which half of the share lies; None where nothing is read.
    """

    width: int
    first: int
    shares: tuple[float, ...]
    even: tuple[float, ...]
    median: int | None


@dataclass
class LagMeter:
    """Sums shares by the time from the middle of a source token to the end of a target token.

    Bins are finer than what is shown, and as many as are needed: how far back a source reaches is
    not known before the last window.
    """

    width: int | None = None
    sums: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    even_sums: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    lag_sums: dict[int, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, target: TokenGrid, source: TokenGrid, shares: Tensor, visible: Tensor) -> None:
        """Add a batch; shares, visible: (batch, token, source token); none is read unseen."""
        if not visible.any():
            return
        seen = visible.sum(dim=-1, keepdim=True).clamp(min=1)
        even = (shares.sum(dim=-1, keepdim=True) / seen).expand_as(shares)[visible]
        # Of tokens that are not there the times mean nothing.
        lags = (target.end[:, :, None] - source.middle[:, None, :])[visible]
        self._fit(_choose_width(float(lags.abs().max()) * _SECOND))
        assert self.width is not None
        # In float64: in float32 a month of microseconds has lost its minutes.
        bins = (lags.double() * _SECOND / self.width).floor().long()
        read = shares[visible].double()
        lowest = int(bins.min())
        for values, sums in (
            (read, self.sums),
            (even.double(), self.even_sums),
            (read * lags.double() * _SECOND, self.lag_sums),
        ):
            found = torch.bincount(bins - lowest, values)
            for place in torch.nonzero(found).flatten().tolist():
                sums[lowest + place] += float(found[place])

    def finish(self, num_tokens: int) -> LagProfile:
        """Return means over this many target tokens, in bins that a person can read."""
        fine, occupied = self.width, sorted({*self.sums, *self.even_sums})
        if fine is None or not occupied:
            return LagProfile(_HOUR, 0, (), (), None)
        low, high = occupied[0] * fine, occupied[-1] * fine
        fitting = [
            width
            for width in (*_WIDTHS, high - low + fine)
            if width >= fine and high // width - low // width < MAX_BINS
        ]
        used = {width: {place * fine // width for place in occupied} for width in fitting}
        # Bins finer than the tokens are would stand apart from each other.
        without_gaps = (
            width for width in fitting if len(used[width]) > max(used[width]) - min(used[width])
        )
        width = next((w for w in without_gaps if len(used[w]) >= MIN_BINS), fitting[0])
        first = low // width
        shares, even = ([0.0] * (high // width - first + 1) for _ in range(2))
        for sums, means in ((self.sums, shares), (self.even_sums, even)):
            for place, total in sums.items():
                means[place * fine // width - first] += total / max(num_tokens, 1)
        return LagProfile(width, first * width, tuple(shares), tuple(even), self._median())

    def _fit(self, width: int) -> None:
        """Pour the bins into wider ones where a batch reaches further back than those before.

        With the width of the first batch alone, in which all may be near, months would take
        thousands of millions of bins.
        """
        if self.width is not None and width > self.width:
            factor = width // self.width
            for name in ("sums", "even_sums", "lag_sums"):
                wider: dict[int, float] = defaultdict(float)
                for place, total in getattr(self, name).items():
                    wider[place // factor] += total
                setattr(self, name, wider)
        self.width = max(width, self.width or width)

    def _median(self) -> int | None:
        half, passed = sum(self.sums.values()) / 2, 0.0
        for place in sorted(self.sums):
            passed += self.sums[place]
            if passed >= half > 0:
                return round(self.lag_sums[place] / self.sums[place])
        return None


def _choose_width(span: float) -> int:
    """Return the largest width that gives the span, in microseconds, enough bins."""
    return max((width for width in _WIDTHS if width * _FINE_BINS <= span), default=_WIDTHS[0])
