"""From tokens to one vector per forecast step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from mmts.heads.covering import read_steps
from mmts.interactions.base import NodeSpec, normalise
from mmts.layers.attention import TimedAttention, choose_num_heads
from mmts.layers.feed_forward import build_feed_forward
from mmts.tokens import Tokens


class HorizonDecoder(nn.Module):
    """One query per forecast step, or per block of them where the horizon is long.

    The query knows its step and the tokens of the known future that cover it; it then looks at
    the tokens of the target stream, and of every other stream that the head reads. Of a block it
    knows the future of each step, side by side, and what it found is spread over them; so the
    cost of a long horizon is that of a short one. Blocks of steps that go in and out as one token:
    arXiv 2211.14730.
    """

    def __init__(
        self,
        horizon: int,
        dim: int,
        past: Mapping[str, NodeSpec],
        future: Mapping[str, NodeSpec],
        num_heads: int,
        dropout: float,
        time_unit: float,
        max_queries: int,
    ) -> None:
        """Build for what the head reads.

        past: nodes that each step looks at, by name. future: nodes read by horizon step.
        time_unit: seconds per forecast step. max_queries: a longer horizon is read in blocks.
        """
        super().__init__()
        self.horizon = horizon
        self.block = block = -(-horizon // max_queries)
        self.steps = nn.Parameter(torch.randn(-(-horizon // block), dim) * 0.02)
        self.future = nn.ModuleDict(
            {name: nn.Linear(block * spec.dim, dim, bias=False) for name, spec in future.items()}
        )
        heads = choose_num_heads(dim, num_heads)
        self.query_norm = nn.LayerNorm(dim)
        self.past = nn.ModuleDict(
            {
                name: TimedAttention(dim, spec.dim, heads, time_unit, zero_start=False)
                for name, spec in past.items()
            }
        )
        self.feed_forward = build_feed_forward(dim, dropout)
        self.spread = nn.Identity() if block == 1 else nn.Linear(dim, block * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, past: Mapping[str, Tokens], future: Mapping[str, Tokens], step_edges: Tensor
    ) -> Tensor:
        """Return (batch, horizon, dim).

        step_edges: (batch, horizon + 1) seconds relative to the origin.
        """
        query = self.steps.expand(len(step_edges), -1, -1)
        for name, project in self.future.items():
            known = Tokens(normalise(future[name].values), future[name].grid)
            query = query + project(self._join(read_steps(step_edges, known)))
        normal, time = self.query_norm(query), self._middles(step_edges)
        for name, attention in self.past.items():
            tokens = past[name]
            grid = tokens.grid
            query = query + attention(
                normal, tokens.values, time, grid.middle, grid.observed[:, None, :]
            )
        found = self.spread(query + self.feed_forward(query))
        output: Tensor = self.norm(self._part(found))
        return output

    def _middles(self, step_edges: Tensor) -> Tensor:
        """Return the middle of each block in time, (batch, query)."""
        begin = step_edges[:, : self.horizon : self.block]
        # The last block may be shorter.
        end = torch.cat([begin[:, 1:], step_edges[:, -1:]], dim=1)
        return (begin + end) / 2

    def _join(self, steps: Tensor) -> Tensor:
        """Lay the steps of a block side by side, (batch, query, block * channel)."""
        lacking = len(self.steps) * self.block - self.horizon
        steps = functional.pad(steps, (0, 0, 0, lacking))
        return rearrange(
            steps, "batch (query step) channel -> batch query (step channel)", step=self.block
        )

    def _part(self, blocks: Tensor) -> Tensor:
        """Undo `_join`, (batch, horizon, channel)."""
        steps = rearrange(
            blocks, "batch query (step channel) -> batch (query step) channel", step=self.block
        )
        return steps[:, : self.horizon]
