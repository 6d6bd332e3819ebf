"""The linear path of a forecast, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from mmts.config_base import Config
from mmts.data.batch import StreamWindow
from mmts.data.schema import DataSchema
from mmts.layers.full_precision import full_precision
from mmts.layers.window_norm import measure_scale
from mmts.linear.features import CalendarPart, Level, WindowFeatures, own_past

Reads = Literal["own", "without_texts", "all"]
"""The past of the targets alone; all streams but for their texts; all of them."""

READS_IN_WORDS: dict[Reads, str] = {
    "own": "the target's own past",
    "without_texts": "all streams but for their texts",
    "all": "all streams",
}

Unit = Literal["train", "window"]
"""What the target is measured in: its spread over the train split, or over the window's past."""


class LinearConfig(Config):
    """A linear map from window to forecast, found in closed form before the training starts."""

    loss: Literal["auto", "squares", "huber"] = Field(
        "auto",
        description="What it is fitted to: squares, of errors; huber, by which outliers count "
        "less; auto, huber where the head has quantiles and that is better on validation, else "
        "squares.",
    )
    contexts: Literal["auto", "whole", "both"] = Field(
        "auto",
        description="How far back the map of the target's past reads: whole, as far as the context "
        "goes; both, the mean of such a map and of one that reads the latest quarter; auto, where "
        "nothing else is read, what is better on validation.",
    )
    level: Literal["auto", "last", "mean", "zero"] = Field(
        "auto",
        description="What values of the past, and the forecast, are relative to: the last value, "
        "the mean of the window, or zero, which is the mean of the train split; auto, the last "
        "value, or the mean of the window where that is better on validation.",
    )
    reads: Literal["auto"] | Reads = Field(
        "auto",
        description="What it reads: own, the past of the target alone, by one map for all target "
        "columns; without_texts, every stream as well, but for its texts; all, texts too; auto, "
        "the more of these where it is better on validation.",
    )
    recent: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = Field(
        "auto",
        description="Share of the train windows, the latest, that it is fitted on; auto, fewer "
        "than all where that is better on validation.",
    )
    units: Literal["auto", "train", "both"] = Field(
        "auto",
        description="What it measures the target in: train, its spread over the train split; both, "
        "the mean of such a map and of one in units of each window's own spread; auto, both where "
        "it is better on validation.",
    )

    bands: Literal["auto"] | Unit = Field(
        "auto",
        description="What the distances of quantiles from it are measured in: train, the target's "
        "spread over the train split; window, that over the window's past, so that they are wide "
        "where the past is, and suit items of any size; auto, window where that is better on "
        "validation.",
    )
    calendar: CalendarPart = Field(
        "horizon",
        description="What it reads of a calendar: horizon, the steps to be forecast, and the "
        "holidays of the context; all, every step.",
    )

    @property
    def settled_reads(self) -> Reads:
        """What it reads; what is left open counts as the simplest."""
        return "own" if self.reads == "auto" else self.reads

    @property
    def all_units(self) -> tuple[Unit, ...]:
        """What the target is measured in, one by one."""
        return ("train", "window") if self.units == "both" else ("train",)


class LinearPath(nn.Module):
    """Forecasts by linear maps: where training begins, and what the other parts add to.

    Its numbers are buffers: they are found in closed form, and no gradient moves them. Until they
    are, it repeats the level.

    maps: one per unit, of which the forecast is the mean. quantiles: (horizon, target, output),
    how far the truth lay from that, in units of `bands`.
    """

    quantiles: Tensor

    def __init__(
        self,
        schema: DataSchema,
        category_sizes: Mapping[str, Mapping[str, int]],
        config: LinearConfig,
        num_outputs: int,
    ) -> None:
        """Build for a schema; num_outputs: of the head, per step and target.

        What the config leaves open counts as the simpler choice.
        """
        super().__init__()
        self.schema = schema
        self.level: Level = "last" if config.level == "auto" else config.level
        reads = config.settled_reads
        self.features = WindowFeatures(
            schema, category_sizes, self.level, config.calendar, with_texts=reads == "all"
        )
        self.units = config.all_units
        self.bands: Unit = "train" if config.bands == "auto" else config.bands
        num_features = None if reads == "own" else self.features.num_features
        self.maps = nn.ModuleList(LinearMap(schema, num_features) for _ in self.units)
        shape = (schema.horizon, len(schema.target_columns), num_outputs)
        self.register_buffer("quantiles", torch.zeros(shape))

    def forward(self, streams: Mapping[str, StreamWindow]) -> Tensor:
        """Return (batch, horizon, target, output), on the scale of the training split."""
        quantiles = self.quantiles
        if self.bands != "train":
            quantiles = quantiles * measure_unit(self.bands, streams, self.schema)[..., None]
        return self.point(streams)[..., None] + quantiles

    def point(self, streams: Mapping[str, StreamWindow]) -> Tensor:
        """Return (batch, horizon, target): what the maps themselves say.

        In float32 under mixed precision too: a sum over hundreds of features, of which each has
        eight bits, is no longer what was fitted.
        """
        own = streams[self.schema.target_stream]
        with full_precision(own.values):
            past, level = own_past(self.level, own, self.schema.target)
            said = []
            for unit, one_map in zip(self.units, self.maps, strict=True):
                spread = measure_unit(unit, streams, self.schema)
                assert isinstance(one_map, LinearMap)
                features = None if one_map.every is None else self.features(streams, spread)
                said.append(one_map(past / spread, features) * spread)
            return level + torch.stack(said).mean(dim=0)


class LinearMap(nn.Module):
    """One map, to what follows the level.

    own: (step, horizon), from the past of each target. every: (feature, output), from all that a
    window holds, an output being one target at one step; None where it is not read.
    intercepts: (horizon, target).
    """

    own: Tensor
    every: Tensor | None
    intercepts: Tensor

    def __init__(self, schema: DataSchema, num_features: int | None) -> None:
        """Build for a schema; num_features: None where the target's past alone is read."""
        super().__init__()
        horizon, num_targets = schema.horizon, len(schema.target_columns)
        self.register_buffer("own", torch.zeros(schema.target.context_steps, horizon))
        every = None if num_features is None else torch.zeros(num_features, horizon * num_targets)
        self.register_buffer("every", every)
        self.register_buffer("intercepts", torch.zeros(horizon, num_targets))

    def forward(self, past: Tensor, features: Tensor | None) -> Tensor:
        """Return (batch, horizon, target).

        past: (batch, step, target). features: (batch, feature). All in the map's unit.
        """
        said = torch.einsum("bst,sh->bht", past, self.own) + self.intercepts
        if self.every is not None and features is not None:
            said = said + rearrange(
                features @ self.every,
                "batch (horizon target) -> batch horizon target",
                horizon=len(self.intercepts),
            )
        return said


def measure_unit(unit: Unit, streams: Mapping[str, StreamWindow], schema: DataSchema) -> Tensor:
    """Return the target's unit in each window, (batch, 1, target), on the train scale."""
    window, channels = streams[schema.target_stream], schema.target.channels("target")
    if unit == "window":
        return measure_scale(window, channels).spread
    return torch.ones(len(window.values), 1, len(channels), device=window.values.device)
