"""The forms of a ridge: what each row of numbers holds, and what its outputs are relative to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from mmts.baselines.features import WindowFeatures
from mmts.data.batch import Batch
from mmts.data.scaling import StreamScaling
from mmts.data.schema import DataSchema


class RidgeForm(NamedTuple):
    """One way to lay out windows for a linear map.

    reads: `all` that the model sees, with a map of its own for each target, or of each target its
        `own` past alone, with one map that all targets share: with many targets and few windows
        the shared one has that many times more rows to learn from (cf. arXiv 2205.13504).
    level: what a target's past and its forecast are relative to: the mean of the `train` split, or
        the `last` value known in the window. Penalised to nothing, the first forecasts a mean, and
        the second the last value.
    """

    reads: Literal["own", "all"]
    level: Literal["train", "last"]

    def __str__(self) -> str:
        """Name it in words."""
        read = "its own past" if self.reads == "own" else "all streams"
        level = "the last value" if self.level == "last" else "the train mean"
        return f"{read}, relative to {level}"


OWN_FROM_LAST = RidgeForm("own", "last")
OWN_FROM_TRAIN = RidgeForm("own", "train")
ALL_FROM_LAST = RidgeForm("all", "last")
ALL_FROM_TRAIN = RidgeForm("all", "train")
FORMS = (OWN_FROM_LAST, OWN_FROM_TRAIN, ALL_FROM_LAST, ALL_FROM_TRAIN)
"""From few features to many."""


class LaidOut(NamedTuple):
    """A batch laid out in a form; `group` is 1, or one a target where they share a map.

    features: (batch, group, feature). targets, observed, levels: (batch, group, output), what is
    to be forecast less its level, and the level; zero where not observed.
    """

    features: Tensor
    targets: Tensor
    observed: Tensor
    levels: Tensor


class RidgeLayout:
    """Lays out batches in one form."""

    def __init__(
        self, form: RidgeForm, schema: DataSchema, scaling: Mapping[str, StreamScaling]
    ) -> None:
        """Build for a schema and the vocabularies of its training split."""
        self.form = form
        self.schema = schema
        self.channels = schema.target.channels("target")
        self.shares_map = form.reads == "own"
        self.num_groups = len(self.channels) if self.shares_map else 1
        self._lay_out_all = WindowFeatures(schema, scaling)

    def __call__(self, batch: Batch) -> LaidOut:
        """Lay out a batch."""
        name = self.schema.target_stream
        values = batch.streams[name].values[..., self.channels]
        observed = batch.streams[name].observed[..., self.channels]
        level = torch.zeros_like(values[:, 0])
        if self.form.level == "last":
            level = _last_observed(values, observed)
        relative = torch.where(observed, values - level[:, None], 0.0)
        targets = torch.where(batch.target_observed, batch.target - level[:, None], 0.0)
        levels = level[:, None].expand_as(targets)
        if self.shares_map:
            features = torch.cat([_by_target(relative), _by_target(observed.float())], dim=-1)
        else:
            features = self._all_features(batch, relative)[:, None]
        return LaidOut(features, *map(self._by_group, (targets, batch.target_observed, levels)))

    def restore(self, outputs: Tensor) -> Tensor:
        """Turn (batch, group, output) into (batch, horizon, target)."""
        if self.shares_map:
            return rearrange(outputs, "batch target horizon -> batch horizon target")
        return rearrange(
            outputs, "batch 1 (horizon target) -> batch horizon target", horizon=self.schema.horizon
        )

    def outputs_at(self, steps: Tensor) -> Tensor:
        """Return the outputs that belong to some steps, (output,) int64."""
        if self.shares_map:
            return steps
        num_targets = len(self.channels)
        return (steps[:, None] * num_targets + torch.arange(num_targets)).flatten()

    def _by_group(self, values: Tensor) -> Tensor:
        if self.shares_map:
            return _by_target(values)
        return rearrange(values, "batch horizon target -> batch 1 (horizon target)")

    def _all_features(self, batch: Batch, relative: Tensor) -> Tensor:
        if self.form.level == "train":
            return self._lay_out_all(batch)
        name = self.schema.target_stream
        window = batch.streams[name]
        values = window.values.clone()
        values[..., self.channels] = relative
        streams = {**batch.streams, name: replace(window, values=values)}
        return self._lay_out_all(replace(batch, streams=streams))


def _by_target(values: Tensor) -> Tensor:
    return rearrange(values, "batch step target -> batch target step")


def _last_observed(values: Tensor, observed: Tensor) -> Tensor:
    """Return the last value of each target in the window, (batch, target); zero where none is."""
    steps = torch.arange(values.shape[1])[None, :, None]
    last = torch.where(observed, steps, -1).amax(dim=1, keepdim=True)
    return values.gather(1, last.clamp(min=0)).masked_fill(last < 0, 0.0)[:, 0]
