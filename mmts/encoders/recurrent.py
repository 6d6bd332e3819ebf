"""One token per step, read forward in time by a gated linear recurrence."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmts.data.batch import StreamWindow
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings, step_grid
from mmts.layers.embedding import ColumnFeatures
from mmts.layers.feed_forward import build_feed_forward
from mmts.tokens import TokenGrid, Tokens


class RecurrentEncoderConfig(EncoderSettings):
    """A minimal gated recurrence (minGRU, arXiv 2410.01201): suits states that build up."""

    kind: Literal["recurrent"] = "recurrent"


class RecurrentLayer(nn.Module):
    """A recurrence and a feed-forward block, each normalised at its input.

    The gates depend on the input alone, not on the state before. So all steps can be computed at
    once, which a GRU cannot, and the layer compiles whole, which PyTorch's GRU does not.
    """

    def __init__(self, dim: int, num_steps: int, dropout: float) -> None:
        """Build for tokens of one width.

        num_steps: how far back a channel remembers at first, at most.
        """
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, dim)
        self.candidate = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim, bias=False)
        self.feed_forward = build_feed_forward(dim, dropout)
        self.dropout = nn.Dropout(dropout)
        # Every span from one step to the window, evenly in their logarithm (cf. arXiv 1804.11188):
        # with gates that begin half open, nothing older than a few steps would be learned from.
        spans = torch.logspace(0, 1, dim, base=float(num_steps))
        with torch.no_grad():
            self.gate.bias.copy_(-spans.log())

    def forward(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        """Return (batch, token, dim); tokens without an observed value pass nothing on."""
        normal = self.norm(tokens)
        # In float32 even under bf16, which would round a gate of a thousandth off beside one.
        gate = self.gate(normal).float().sigmoid() * grid.observed[..., None]
        states = run_recurrence(gate, self.candidate(normal).float())
        tokens = tokens + self.dropout(self.output(states.to(normal.dtype)))
        output: Tensor = tokens + self.dropout(self.feed_forward(tokens))
        return output


def run_recurrence(gate: Tensor, candidate: Tensor) -> Tensor:
    """Return the states of all steps, each (1 - gate) of the one before and gate of its candidate.

    gate, candidate: (batch, step, channel) float32, gates from 0, which leaves the state as it
    was, to 1. The state before the first step is zero. Computed by a parallel scan: after each
    round a step has gathered twice as many steps, so that it takes log2(step) rounds.
    """
    kept, gathered = 1 - gate, gate * candidate
    num_steps, reach = gate.shape[1], 1
    while reach < num_steps:
        further = gathered[:, reach:] + kept[:, reach:] * gathered[:, :-reach]
        gathered = torch.cat([gathered[:, :reach], further], dim=1)
        kept = torch.cat([kept[:, :reach], kept[:, reach:] * kept[:, :-reach]], dim=1)
        reach *= 2
    return gathered


class RecurrentEncoder(Encoder):
    """Each token holds what came up to it; a step without an observed value leaves the state."""

    causal = True

    def __init__(
        self,
        config: RecurrentEncoderConfig,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream."""
        super().__init__(config, schema, vocabulary_sizes, time_unit)
        self.features = ColumnFeatures(schema, vocabulary_sizes)
        self.project = nn.Linear(self.features.dim, config.dim)
        self.layers = nn.ModuleList(
            RecurrentLayer(config.dim, schema.num_steps, config.dropout)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.dim)

    def embed(self, window: StreamWindow) -> Tokens:
        """Return one token per step."""
        return Tokens(self.project(self.features(window)), step_grid(window, self.schema.is_static))
