"""One token per step, read by dilated convolutions in residual blocks."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from mmts.data.batch import StreamWindow
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings, step_grid
from mmts.layers.embedding import ColumnFeatures
from mmts.tokens import TokenGrid, Tokens


class ConvEncoderConfig(EncoderSettings):
    """Dilated convolutions (arXiv 1803.01271): suit short streams and local patterns."""

    kind: Literal["conv"] = "conv"
    kernel_size: int = Field(3, gt=1, description="Steps that one convolution sees.")
    dilation_growth: int = Field(
        2, gt=0, description="Factor by which the steps between taps grow from layer to layer."
    )
    layer_dims: tuple[int, ...] | None = Field(
        None, description="Width of each layer, where they differ; the first goes out of layer 1."
    )

    def node_dims(self) -> tuple[int, ...]:
        """Return the width of the embedding and of each layer."""
        return super().node_dims() if self.layer_dims is None else (self.dim, *self.layer_dims)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.layer_dims is not None:
            if len(self.layer_dims) != self.num_layers:
                raise ValueError(
                    f"'layer_dims' has {len(self.layer_dims)} widths for {self.num_layers} layers"
                )
            if any(dim <= 0 or dim % 2 for dim in self.layer_dims):
                raise ValueError("'layer_dims' must be even numbers above zero")
        return self


class ResidualBlock(nn.Module):
    """Two dilated convolutions beside a shortcut, projected where the widths differ.

    Normalised per token: batch statistics would mix the windows of a batch.
    """

    def __init__(
        self, in_dim: int, out_dim: int, kernel_size: int, dilation: int, dropout: float
    ) -> None:
        """Build for one pair of widths."""
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(in_dim), nn.LayerNorm(out_dim)])
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, out_dim, kernel_size, dilation=dilation, padding="same")
            for width in (in_dim, out_dim)
        )
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        self.shortcut = (
            nn.Identity() if in_dim == out_dim else nn.Linear(in_dim, out_dim, bias=False)
        )

    def forward(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        """Return (batch, token, out_dim); tokens without an observed value pass nothing on."""
        observed = grid.observed[..., None].to(tokens.dtype)
        branch = tokens
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            branch = self.activation(norm(branch)) * observed
            branch = rearrange(branch, "batch token channel -> batch channel token")
            branch = rearrange(convolution(branch), "batch channel token -> batch token channel")
        output: Tensor = self.shortcut(tokens) + self.dropout(branch)
        return output


class ConvEncoder(Encoder):
    """The reach grows from layer to layer, by default twofold, and both ways."""

    causal = False

    def __init__(
        self,
        config: ConvEncoderConfig,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        time_unit: float,
    ) -> None:
        """Build for one stream."""
        super().__init__(config, schema, vocabulary_sizes, time_unit)
        self.features = ColumnFeatures(schema, vocabulary_sizes)
        self.project = nn.Linear(self.features.dim, config.dim)
        dims = config.node_dims()
        self.layers = nn.ModuleList(
            ResidualBlock(
                in_dim, out_dim, config.kernel_size, config.dilation_growth**layer, config.dropout
            )
            for layer, (in_dim, out_dim) in enumerate(pairwise(dims))
        )
        self.norm = nn.LayerNorm(dims[-1])

    def embed(self, window: StreamWindow) -> Tokens:
        """Return one token per step."""
        return Tokens(self.project(self.features(window)), step_grid(window, self.schema.is_static))
