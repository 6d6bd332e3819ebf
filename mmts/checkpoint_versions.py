"""Reading what older versions of the checkpoint held, so that a checkpoint loads for ever."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mmts.config import ExperimentConfig
from mmts.data.schema import DataSchema
from mmts.encoders.patch import PatchEncoderConfig
from mmts.interactions.base import InteractionSettings
from mmts.interactions.graph import Node
from mmts.model import module_key

NETWORK_SHARE = "network_share.chosen"


def upgrade(settings: dict[str, Any]) -> None:
    """Bring the description in an older checkpoint to the form of the newest, in place.

    What does not have the form of its version is left for the checks that follow.
    """
    if settings.get("format_version") == 1:
        _upgrade_to_2(settings)
    if settings.get("format_version") == 2:
        _upgrade_to_3(settings)
    if settings.get("format_version") == 3:
        _upgrade_to_4(settings)
    if settings.get("format_version") == 4:
        _upgrade_to_5(settings)
    if settings.get("format_version") == 5:
        settings["format_version"] = 6
    if settings.get("format_version") == 6:
        # There was no calibration, and without one nothing is different.
        settings["format_version"] = 7
    if settings.get("format_version") == 7:
        _upgrade_to_8(settings)
    if settings.get("format_version") == 8:
        # The file stated no digest, and the description is the same.
        settings["format_version"] = 9
    if settings.get("format_version") == 9:
        _upgrade_to_10(settings)
    if settings.get("format_version") == 10:
        _upgrade_to_11(settings)
    if settings.get("format_version") == 11:
        # The description is the same: see `streams_placed_anew`.
        settings["format_version"] = 12
    if settings.get("format_version") == 12:
        _upgrade_to_13(settings)


def streams_placed_anew(version: int, config: ExperimentConfig, schema: DataSchema) -> list[str]:
    """Return the streams of an older checkpoint whose tokens stand at other times by now.

    Up to version 11 a patch of rows on no clock began and ended where its first and its last place
    did, though no row may be there.
    """
    if version > 11:
        return []
    return [
        name
        for name, stream in schema.streams.items()
        if isinstance(config.model.encoders.get(name), PatchEncoderConfig)
        and not (stream.is_regular or stream.is_static)
    ]


def upgrade_weights(
    version: int,
    config: ExperimentConfig,
    schema: DataSchema,
    model: Mapping[str, Tensor],
    tensors: dict[str, Tensor],
) -> None:
    """Bring the tensors of an older checkpoint to the form of the newest, in place.

    version: the format that the file was written in. model: the tensors that it shall have.
    Those that are missing or of a wrong shape are left for the checks that follow.
    """
    if version <= 2:
        _weights_to_3(config, schema, tensors)
    if version <= 3:
        _weights_to_4(model, tensors)
    if version <= 5:
        _weights_to_6(tensors)
    if version <= 10:
        _weights_to_11(model, tensors)


def _weights_to_3(config: ExperimentConfig, schema: DataSchema, tensors: dict[str, Tensor]) -> None:
    for name, edge in config.model.edges(schema.target_stream).items():
        prefix = f"interactions.{module_key(name)}."
        try:
            _edge_to_3(edge, config, schema, prefix, tensors)
        except (KeyError, RuntimeError):
            continue


def _upgrade_to_2(settings: dict[str, Any]) -> None:
    """Clocks were a period in microseconds, and only UTC had a name."""
    schema = settings.get("data_schema")
    if not isinstance(schema, dict) or not isinstance(schema.get("streams"), dict):
        return
    schema.pop("frequency", None)
    for stream in schema["streams"].values():
        if isinstance(stream, dict):
            period = stream.pop("period", 0)
            stream.pop("cover", None)
            stream["clock"] = {"every": period} if period else None
            stream["has_items"] = stream.get("item") is not None
    settings["format_version"] = 2


def _upgrade_to_3(settings: dict[str, Any]) -> None:
    """Attention looked everywhere alike, without bounds, and only added; see also the weights."""
    try:
        edges = settings["config"]["model"]["interactions"]
        for edge in edges:
            if edge["kind"] == "attention":
                edge |= {"fades": False, "modulates": False, "bounded": False}
    except (KeyError, TypeError):
        return
    settings["format_version"] = 3


def _upgrade_to_4(settings: dict[str, Any]) -> None:
    """Distances counted from the token that looks; see also the weights."""
    try:
        for edge in settings["config"]["model"]["interactions"]:
            if edge["kind"] in ("attention", "joint", "bottleneck"):
                edge["from_nearest"] = False
    except (KeyError, TypeError):
        return
    settings["format_version"] = 4


def _upgrade_to_5(settings: dict[str, Any]) -> None:
    """There was no linear path."""
    try:
        settings["config"]["model"]["linear"] = None
    except (KeyError, TypeError):
        return
    settings["format_version"] = 5


def _upgrade_to_8(settings: dict[str, Any]) -> None:
    """Every forecast step had a query of its own, however many there were."""
    try:
        settings["config"]["model"]["head"]["max_queries"] = settings["data_schema"]["horizon"]
    except (KeyError, TypeError):
        return
    settings["format_version"] = 8


def _upgrade_to_10(settings: dict[str, Any]) -> None:
    """The linear path read all of a calendar, and all of the network counted; see the weights."""
    try:
        settings["config"]["training"]["shrinkage"] = False
        model = settings["config"]["model"]
        if model["linear"] is not None:
            is_robust = model["head"]["kind"] == "quantile"
            model["linear"] |= {"calendar": "all", "loss": "huber" if is_robust else "squares"}
    except (KeyError, TypeError):
        return
    settings["format_version"] = 10


def _upgrade_to_11(settings: dict[str, Any]) -> None:
    """The linear path read the whole context; see also the weights."""
    try:
        if settings["config"]["model"]["linear"] is not None:
            settings["config"]["model"]["linear"]["contexts"] = "whole"
    except (KeyError, TypeError):
        return
    settings["format_version"] = 11


def _upgrade_to_13(settings: dict[str, Any]) -> None:
    """Bands of the linear path were measured in one unit for all windows."""
    try:
        if settings["config"]["model"]["linear"] is not None:
            settings["config"]["model"]["linear"]["bands"] = "train"
    except (KeyError, TypeError):
        return
    settings["format_version"] = 13


def _weights_to_11(model: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> None:
    """One share of the network counted for middle and spread, and before it was chosen, all."""
    if NETWORK_SHARE in model:
        share = tensors.get(NETWORK_SHARE, torch.ones(()))
        if share.ndim == 0:
            tensors[NETWORK_SHARE] = share.expand(2).clone()


def _weights_to_4(model: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> None:
    """Nothing was taken out of what an edge reads, and only one head looked at what is nearest."""
    for name, weight in model.items():
        part = name.split(".")
        if part[0] != "interactions" or name in tensors:
            continue
        if part[-1] == "slopes":
            slopes = 8.0 ** -torch.arange(len(weight))
            slopes[-1] = 0.0
            tensors[name] = slopes
        elif not {"centring", "centrings"}.isdisjoint(part):
            tensors[name] = torch.zeros_like(weight)


def _weights_to_6(tensors: dict[str, Tensor]) -> None:
    """What a target token says of the weights of its sources had the scale of its width."""
    for name in tensors:
        is_gate = name.startswith("interactions.") and name.endswith(".gate.weight")
        if is_gate and tensors[name].ndim == 2:
            tensors[name] = tensors[name] * tensors[name].shape[1] ** 0.5


def _edge_to_3(
    edge: InteractionSettings,
    config: ExperimentConfig,
    schema: DataSchema,
    prefix: str,
    tensors: dict[str, Tensor],
) -> None:
    """Ages got a channel, sources of the same stream lost theirs, and `weighted` one projection."""
    sources = [Node.parse(source) for source in edge.sources]
    own = Node.parse(edge.to).stream
    if edge.kind == "residual":
        place = "projection.weight" if f"{prefix}projection.weight" in tensors else "channel_scale"
        fade = _Fade(config, schema, sources[0].stream, own)
        rate = tensors.pop(f"{prefix}decay.rate", None)
        fade.move(rate, tensors, f"{prefix}{place}", f"{prefix}reader.rate")
    elif edge.kind == "weighted":
        output = tensors.pop(f"{prefix}output.weight")
        for number, source in enumerate(sources):
            weight = f"{prefix}projections.{number}.weight"
            tensors[weight] = output @ tensors[weight]
            fade = _Fade(config, schema, source.stream, own)
            rate = tensors.pop(f"{prefix}decays.{number}.rate", None)
            fade.move(rate, tensors, weight, f"{prefix}readers.{number}.rate")


class _Fade:
    """What became of the rate at which a source faded before version 3."""

    def __init__(
        self, config: ExperimentConfig, schema: DataSchema, source: str, target: str
    ) -> None:
        self.same_stream = source == target
        clock = schema.streams[source].clock
        length = 0 if clock is None else clock.period
        length *= getattr(config.model.encoders[source], "patch_length", 1)
        # A token read itself, whose middle lies half of its length before its end.
        self.own_age = length / 2 / schema.frequency

    def move(
        self, rate: Tensor | None, tensors: dict[str, Tensor], weight: str, new_rate: str
    ) -> None:
        """Put the rate in its new place, or into the weight where it is no more."""
        if rate is None:
            return
        if self.same_stream:
            tensors[weight] = tensors[weight] * math.exp(-functional.softplus(rate) * self.own_age)
        else:
            tensors[new_rate] = rate
            # The new channel, of the age, is not read.
            tensors[weight] = functional.pad(tensors[weight], (0, 1))
