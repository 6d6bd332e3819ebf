"""From the columns of a stream to features that a layer can read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmts.data.batch import StreamWindow
from mmts.data.channels import take_channels
from mmts.data.schema import ColumnSchema, StreamSchema

MAX_CATEGORY_DIM = 16


class ColumnFeatures(nn.Module):
    """Numbers, embedded categories, an indicator per column, and the age of irregular rows.

    A value that is missing is zero *and* its indicator is zero: a mask alone would let NaN
    through (0 x NaN), and zero alone would be a claim.
    """

    def __init__(
        self,
        schema: StreamSchema,
        vocabulary_sizes: dict[str, int],
        columns: Sequence[ColumnSchema] | None = None,
    ) -> None:
        """Build for the columns of one stream.

        vocabulary_sizes: largest code per category column; codes run from 0 (unseen) to it.
        columns: those that are read, where not all are.
        """
        super().__init__()
        placed = [
            (column, place)
            for column, place in zip(schema.columns, schema.slices, strict=True)
            if columns is None or column in columns
        ]
        self.numbers = [
            channel
            for column, place in placed
            if column.type != "category"
            for channel in range(place.start, place.stop)
        ]
        categories = [(c.name, place.start) for c, place in placed if c.type == "category"]
        self.categories = [channel for _, channel in categories]
        # All channels of a column are there, or none.
        self.indicators = [place.start for _, place in placed]
        sizes = [vocabulary_sizes[name] + 1 for name, _ in categories]
        dims = [min(MAX_CATEGORY_DIM, (size + 1) // 2) for size in sizes]
        self.embeddings = nn.ModuleList(
            nn.Embedding(size, dim) for size, dim in zip(sizes, dims, strict=True)
        )
        self.has_age = not (schema.is_regular or schema.is_static)
        self.dim = len(self.numbers) + sum(dims) + len(self.indicators) + int(self.has_age)

    def forward(self, window: StreamWindow) -> Tensor:
        """Return features (batch, step, feature)."""
        observed = window.observed.to(window.values.dtype)
        # Windows hold zeros there; filled again, nothing else can come in, nor a gradient go out.
        values = window.values.masked_fill(~window.observed, 0.0)
        parts = [take_channels(values, self.numbers), take_channels(observed, self.indicators)]
        for channel, embedding in zip(self.categories, self.embeddings, strict=True):
            codes = values[..., channel].long()
            parts.append(embedding(codes) * observed[..., channel, None])
        if self.has_age:
            parts.append(measure_age(window)[..., None])
        return torch.cat(parts, dim=-1)


def measure_age(window: StreamWindow) -> Tensor:
    """Return the logarithm of how many hours ago each row was, (batch, step); zero if ahead."""
    return torch.log1p(-window.start.clamp(max=0.0) / 3600)
