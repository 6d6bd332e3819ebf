"""Windows as flat rows of numbers, for a linear map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mmts.data.batch import Batch, StreamWindow
from mmts.data.scaling import StreamScaling
from mmts.data.schema import DataSchema, StreamSchema

MAX_BUCKETS = 64
"""Places of a hashed category, per step: one for each of thousands would fill all memory."""


class WindowFeatures:
    """Lays out all that the model sees of each window side by side.

    Per stream and step: every number, every category as one-hot with a place of its own for unseen
    names, a flag per column that tells whether it was observed, and where rows stand on no grid,
    their age. A stream on a grid has one age, that of its last row. What is not observed is zero.
    """

    def __init__(self, schema: DataSchema, scaling: Mapping[str, StreamScaling]) -> None:
        """Build for a schema and the vocabularies of its training split."""
        self.schema = schema
        self.scaling = scaling

    def __call__(self, batch: Batch) -> Tensor:
        """Return (batch, feature) float32."""
        parts: list[Tensor] = []
        for name, stream in self.schema.streams.items():
            parts += _lay_out(batch.streams[name], stream, self.scaling[name])
        return torch.cat([part.flatten(start_dim=1) for part in parts], dim=1)


def _lay_out(window: StreamWindow, schema: StreamSchema, scaling: StreamScaling) -> list[Tensor]:
    """Return features of one stream, each (batch, step, ...)."""
    placed = list(zip(schema.columns, schema.slices, strict=True))
    parts = [window.values[..., place] for column, place in placed if column.type != "category"]
    parts.append(window.observed[..., [place.start for _, place in placed]].float())
    for column, place in placed:
        if column.type == "category":
            codes, num_codes = window.values[..., place.start].long(), scaling.num_codes(column)
            if column.buckets is not None and num_codes > MAX_BUCKETS:
                codes, num_codes = codes % MAX_BUCKETS + 1, MAX_BUCKETS
            one_hot = functional.one_hot(codes, num_codes + 1)
            parts.append(one_hot.float() * window.observed[..., place])
    if not schema.is_static:
        # An absent row may lie anywhere in time: its age says nothing.
        exists = window.observed.any(dim=-1)
        age = torch.where(exists, torch.log1p(-window.start.clamp(max=0.0) / 3600), 0.0)
        if schema.is_regular:
            last = torch.arange(age.shape[1]).masked_fill(~exists, -1).amax(dim=1, keepdim=True)
            age = age.gather(1, last.clamp(min=0))
        parts.append(age)
    return parts
