"""A synthetic task of which the best possible error is known, with and without a second stream.

Stream B, the target's: tokens b_t ~ N(0, I_p), t = 0 .. T - 1, one a step. Two neighbours (2k,
2k + 1) stand in one of R regimes, drawn independently for each pair. A regime is a unit vector
w_r, u_t = w_r(t) . b_t, and what comes one step after the last token is

    y = (sum over t of u_t u_(t+1)) / sqrt(n) + noise,    n = T - 1,  noise ~ N(0, 0.1).

Stream A, at half the rate: an event at the beginning of each pair, which becomes known half a step
later, and from which the pair's regime follows; `codes.py` says in which ways. Stream N: noise of
its own, every third step.

**The vectors.** w_r = m + v_r, where |m|^2 = |v_r|^2 = 1/2, every v_r is orthogonal to m, and the
v_r sum to zero: so each w_r has length one and their mean is m. The v_r come in opposite pairs
along axes which are taken from random orthonormal bases of the space orthogonal to m (from one
while it lasts, then from the next); an odd number of regimes has one triangle among them. One
regime has nothing to tell: its vector is m itself, of length one.

**The floor.** Who knows b and the regimes knows all but the noise: 0.1.

**The best without A.** Products are uncorrelated, as each holds a token of mean zero that the
other lacks, and each has variance one: Var y = 1 + 0.1. Given b alone, the product within a pair
has the mean b_t' M b_(t+1), M = mean over r of w_r w_r', of variance |M|_F^2; the one across two
pairs, whose regimes are independent, (m . b_t)(m . b_(t+1)), of variance |m|^4. These are
uncorrelated too. With n_w = floor(T / 2) products within and n_a = n - n_w across,

    best MSE = 1 + 0.1 - (n_w |M|_F^2 + n_a |m|^4) / n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from codes import Code, OneHotCode
from torch import Tensor
from torch.nn import functional

from mmts.data.batch import Batch, StreamWindow
from mmts.data.clock import Clock
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema

NOISE_VARIANCE = 0.1
STEP = 3_600_000_000
"""One token of B, in microseconds."""
NOISE_CHANNELS = 3


@dataclass(frozen=True)
class Sample:
    """Windows of the task.

    tokens: (window, token, channel). regimes: (window, pair) int64. codes: (window, pair,
    channel), what stream A tells of them. noise: (window, token, channel), the third stream.
    unexplained: (window,), the part of the target that is noise. target: (window,).
    """

    tokens: Tensor
    regimes: Tensor
    codes: Tensor
    noise: Tensor
    unexplained: Tensor
    target: Tensor

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.target)

    def __getitem__(self, part: slice) -> Sample:
        """Return some of the windows."""
        return Sample(
            self.tokens[part],
            self.regimes[part],
            self.codes[part],
            self.noise[part],
            self.unexplained[part],
            self.target[part],
        )


class RegimeTask:
    """The task: how it is drawn, and what can be known of it."""

    def __init__(
        self,
        num_regimes: int = 8,
        num_channels: int = 4,
        num_tokens: int = 12,
        seed: int = 1,
        code: Code | None = None,
        lags: int = 0,
    ) -> None:
        """Draw the vectors of the regimes, (regime, channel).

        num_tokens: even. code: what stream A holds, by default the regimes themselves.
        lags: how many codes, the latest first, B's tokens hold beside their own channels; all
        those that are known at the token's end, as a joined table would have them.
        """
        assert num_tokens % 2 == 0
        self.num_tokens = num_tokens
        self.vectors = draw_vectors(num_regimes, num_channels, seed)
        self.code = OneHotCode(num_regimes) if code is None else code
        self.lags = lags

    @property
    def num_regimes(self) -> int:
        """How many regimes there are."""
        return len(self.vectors)

    @property
    def num_products(self) -> int:
        """How many neighbours are multiplied."""
        return self.num_tokens - 1

    @property
    def floor(self) -> float:
        """The mean squared error that nothing can undercut."""
        return NOISE_VARIANCE

    @property
    def variance(self) -> float:
        """The variance of the target."""
        return 1 + NOISE_VARIANCE

    @property
    def best_without_codes(self) -> float:
        """The least mean squared error for who does not see stream A."""
        mean = self.vectors.mean(dim=0)
        second = self.vectors.T @ self.vectors / self.num_regimes
        within = self.num_tokens // 2
        across = self.num_products - within
        explained = within * (second**2).sum() + across * (mean @ mean) ** 2
        return self.variance - float(explained) / self.num_products

    def sample(self, num_windows: int, generator: torch.Generator) -> Sample:
        """Draw windows."""
        pairs = self.num_tokens // 2
        shape = (num_windows, self.num_tokens, self.vectors.shape[1])
        tokens = torch.randn(shape, generator=generator)
        regimes = torch.randint(self.num_regimes, (num_windows, pairs), generator=generator)
        noise = torch.randn(
            (num_windows, self.num_tokens // 3, NOISE_CHANNELS), generator=generator
        )
        unexplained = math.sqrt(NOISE_VARIANCE) * torch.randn(num_windows, generator=generator)
        vectors = self.vectors.float()[regimes].repeat_interleave(2, dim=1)
        told = self._sum_products((vectors * tokens).sum(dim=-1))
        codes = self.code.encode(regimes)
        return Sample(tokens, regimes, codes, noise, unexplained, told + unexplained)

    def forecast_without_codes(self, tokens: Tensor) -> Tensor:
        """Return the mean of the target given stream B alone, (window,); the Bayes predictor."""
        vectors = self.vectors.float()
        mean, second = vectors.mean(dim=0), vectors.T @ vectors / self.num_regimes
        left, right = tokens[:, :-1], tokens[:, 1:]
        within = ((left @ second) * right).sum(dim=-1)
        across = (left @ mean) * (right @ mean)
        is_within = torch.arange(self.num_products) % 2 == 0
        products = torch.where(is_within, within, across)
        return products.sum(dim=-1) / math.sqrt(self.num_products)

    def _sum_products(self, seen: Tensor) -> Tensor:
        return (seen[:, :-1] * seen[:, 1:]).sum(dim=-1) / math.sqrt(self.num_products)

    def schema(self) -> DataSchema:
        """Describe the streams to the model."""
        span = self.num_tokens * STEP
        own = [f"b{c}" for c in range(self.vectors.shape[1])]
        told = [f"{name}_{lag}" for lag in range(self.lags) for name in self.code.names]
        return DataSchema(
            streams={
                "A": _stream(list(self.code.names), None, span, 2, STEP // 2),
                "B": _stream(["y", *own, *told], STEP, span, 1, 0),
                "N": _stream([f"n{c}" for c in range(NOISE_CHANNELS)], 3 * STEP, span, 3, 0),
            },
            target_stream="B",
            horizon=1,
            has_time_zone=False,
        )

    def batch(self, sample: Sample) -> Batch:
        """Make a batch as the data pipeline would, at the end of the last token."""
        size, length = len(sample), float(self.num_tokens)
        hour = STEP / 1e6
        begin = torch.arange(-length, 0.0)
        unseen = torch.zeros(size, self.num_tokens, 1)
        told, known = self._join(sample.codes)
        values = torch.cat([unseen, sample.tokens, told], dim=-1)
        # The target is never seen in the window: it comes after it.
        own = torch.ones_like(sample.tokens, dtype=torch.bool)
        observed = torch.cat([torch.zeros_like(unseen, dtype=torch.bool), own, known], dim=-1)

        def place(
            values: Tensor, observed: Tensor | None, start: Tensor, end: Tensor, delay: float
        ) -> StreamWindow:
            return StreamWindow(
                values,
                torch.ones_like(values, dtype=torch.bool) if observed is None else observed,
                (start * hour).expand(size, -1),
                (end * hour).expand(size, -1),
                ((end + delay) * hour).expand(size, -1),
            )

        return Batch(
            streams={
                "A": place(sample.codes, None, begin[::2], begin[::2], 0.5),
                "B": place(values, observed, begin, begin + 1, 0.0),
                "N": place(sample.noise, None, begin[::3], begin[::3] + 3, 0.0),
            },
            step_edges=torch.tensor([[0.0, hour]]).expand(size, -1),
            target=sample.target[:, None, None],
            target_observed=torch.ones(size, 1, 1, dtype=torch.bool),
        )

    def _join(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latest codes as of each token of B, and whether there are as many yet.

        Each (window, token, lag and channel), zero where there is none.
        """
        known = torch.ones_like(codes, dtype=torch.bool)
        parts = [
            (functional.pad(part, (0, 0, lag, 0))[:, : codes.shape[1]])
            for part in (codes, known)
            for lag in range(self.lags)
        ]
        nothing = codes[..., :0]
        values = torch.cat([nothing, *parts[: self.lags]], dim=-1)
        there = torch.cat([nothing.bool(), *parts[self.lags :]], dim=-1)
        return values.repeat_interleave(2, dim=1), there.repeat_interleave(2, dim=1)


def draw_vectors(num_regimes: int, num_channels: int, seed: int) -> Tensor:
    """Draw the vector of each regime, (regime, channel) float64; see the head of this file."""
    generator = torch.Generator().manual_seed(seed)

    def draw_basis(size: int) -> Tensor:
        drawn = torch.randn((size, size), generator=generator, dtype=torch.float64)
        return torch.linalg.qr(drawn).Q.T

    basis = draw_basis(num_channels)
    if num_regimes == 1:
        return basis[:1]
    middle, space = basis[:1], basis[1:]
    size = num_channels - 1
    assert size >= 1 + num_regimes % 2
    wanted = num_regimes // 2 + num_regimes % 2
    axes = torch.cat([draw_basis(size) for _ in range(-(-wanted // size))])[:wanted] @ space
    if num_regimes % 2:
        angles = 2 * math.pi / 3 * torch.arange(3, dtype=torch.float64)
        plane = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = torch.cat([plane @ axes[:2], axes[2:], -axes[2:]])
    else:
        directions = torch.cat([axes, -axes])
    return (middle + directions) * math.sqrt(0.5)


def _stream(
    names: list[str], period: int | None, span: int, spacing: int, delay: int
) -> StreamSchema:
    """Describe one stream; spacing: steps from row to row. Those without a period are events."""
    columns = [
        ColumnSchema(name=name, role="target" if name == "y" else "past", type="number")
        for name in names
    ]
    return StreamSchema(
        columns=tuple(columns),
        time="time",
        item=None,
        has_items=False,
        clock=None if period is None else Clock(every=period),
        stamp="event" if period is None else "start",
        delay=delay,
        known_ahead=None,
        context_steps=span // (spacing * STEP),
        context_span=span,
        future_steps=0,
    )
