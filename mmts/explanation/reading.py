"""Where the edges of a model read, summed over all windows, one batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmts.explanation.lags import LagMeter, LagProfile
from mmts.tokens import TokenGrid

MAX_CELLS = 40_000
"""Cells up to which the shares of each pair of tokens are kept; more cannot be seen either."""


@dataclass(frozen=True)
class TokenShares:
    """Mean share of each source token, for tokens that stand at the same times in all windows.

    target_times, source_times: (token,), (source token,) seconds from the origin to the end of a
    target token and to the middle of a source token. shares: (token, source token).
    """

    target_times: tuple[float, ...]
    source_times: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class SharesOverTime:
    """Mean share of a source by target token, where these stand at the same times in all windows.

    times: (token,) seconds from the origin to the end of a token. shares: (token,).
    """

    times: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class SourceReading:
    """How an edge reads one source.

    share: mean over target tokens of what all tokens of the source get.
    lags: None where one side stands in no time. tokens: None there, where the tokens stand
    elsewhere in each window, and where there are too many pairs of them. over_time: None where the
    target stands in no time, or elsewhere in each window.
    """

    source: str
    share: float
    lags: LagProfile | None
    tokens: TokenShares | None
    over_time: SharesOverTime | None = None


class ReadingMeter:
    """Sums the shares of one source of one edge; holds no more than one batch of them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.num_tokens = 0
        self.total = 0.0
        self.target_times: _Times | None = None
        self.by_target = torch.zeros(0)
        self.target_counts = torch.zeros(0)
        self.lags: LagMeter | None = None
        self.times: tuple[_Times, _Times] | None = None
        self.sums: Tensor | None = None
        self.counts: Tensor | None = None

    def add(self, target: TokenGrid, source: TokenGrid, shares: Tensor, visible: Tensor) -> None:
        """Add a batch, over target tokens that hold an observed value.

        shares, visible: (batch, token, source token).
        """
        counted = target.observed[:, :, None]
        # On the CPU, as not every device has float64.
        shares = (shares * counted).cpu().double()
        self.num_tokens += int(target.observed.sum())
        self.total += float(shares.sum())
        if not target.ageless:
            self._add_over_time(target, shares.sum(dim=(0, 2)))
        if target.ageless or source.ageless:
            return
        if self.lags is None:
            self.lags = LagMeter()
        self.lags.add(_on_cpu(target), _on_cpu(source), shares, (visible & counted).cpu())
        if shares[0].numel() <= MAX_CELLS:
            self._add_tokens(target, source, shares)

    def finish(self) -> SourceReading:
        """Return the means."""
        return SourceReading(
            self.source,
            self.total / self.num_tokens if self.num_tokens else 0.0,
            None if self.lags is None else self.lags.finish(self.num_tokens),
            self._finish_tokens(),
            self._finish_over_time(),
        )

    def _add_over_time(self, target: TokenGrid, sums: Tensor) -> None:
        if self.target_times is None:
            self.target_times = _Times(target.end.shape[1])
            self.by_target, self.target_counts = torch.zeros_like(sums), torch.zeros_like(sums)
        self.target_times.add(target.end, target.observed)
        self.by_target += sums
        self.target_counts += target.observed.sum(dim=0).cpu()

    def _finish_over_time(self) -> SharesOverTime | None:
        times = self.target_times
        if times is None or not times.are_fixed or not times.seen.any():
            return None
        means = (self.by_target / self.target_counts.clamp(min=1))[times.seen]
        return SharesOverTime(tuple(times.low[times.seen].tolist()), tuple(means.tolist()))

    def _add_tokens(self, target: TokenGrid, source: TokenGrid, shares: Tensor) -> None:
        if self.times is None:
            self.times = _Times(target.end.shape[1]), _Times(source.end.shape[1])
            self.sums = torch.zeros(shares.shape[1:], dtype=torch.float64)
            self.counts = torch.zeros(shares.shape[1], dtype=torch.float64)
        assert self.sums is not None and self.counts is not None
        self.times[0].add(target.end, target.observed)
        self.times[1].add(source.middle, source.observed)
        self.sums += shares.sum(dim=0)
        self.counts += target.observed.sum(dim=0).cpu()

    def _finish_tokens(self) -> TokenShares | None:
        if self.times is None or not all(times.are_fixed for times in self.times):
            return None
        assert self.sums is not None and self.counts is not None
        rows, columns = (times.seen for times in self.times)
        if not (rows.any() and columns.any()):
            return None
        means = (self.sums / self.counts.clamp(min=1)[:, None])[rows][:, columns]
        return TokenShares(
            tuple(self.times[0].low[rows].tolist()),
            tuple(self.times[1].low[columns].tolist()),
            tuple(map(tuple, means.tolist())),
        )


class _Times:
    """Earliest and latest time of each token, over the windows in which it is observed."""

    def __init__(self, num_tokens: int) -> None:
        self.low = torch.full((num_tokens,), torch.inf)
        self.high = torch.full((num_tokens,), -torch.inf)

    @property
    def seen(self) -> Tensor:
        """Tokens that were observed in any window, (token,) bool."""
        return self.low <= self.high

    @property
    def are_fixed(self) -> bool:
        """Whether each token stood at one time throughout."""
        return bool((self.low == self.high)[self.seen].all())

    def add(self, times: Tensor, observed: Tensor) -> None:
        times, observed = times.cpu(), observed.cpu()
        self.low = torch.minimum(self.low, times.masked_fill(~observed, torch.inf).amin(dim=0))
        self.high = torch.maximum(self.high, times.masked_fill(~observed, -torch.inf).amax(dim=0))


def _on_cpu(grid: TokenGrid) -> TokenGrid:
    times = (grid.start.cpu(), grid.end.cpu(), grid.available.cpu(), grid.observed.cpu())
    return TokenGrid(*times, ageless=grid.ageless)
