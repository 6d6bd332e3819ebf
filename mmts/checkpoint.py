"""The checkpoint: one safetensors file with everything that a forecast needs, and no code.

Weights are tensors; all else is JSON in the file's metadata. Nothing in it can run, whoever
made it.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import TypeAdapter, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmts.calibration.conformal import Calibration
from mmts.checkpoint_versions import upgrade, upgrade_weights
from mmts.config import ExperimentConfig
from mmts.config_base import Config
from mmts.data.calendar_features import calendar_columns
from mmts.data.scaling import StreamScaling, category_sizes
from mmts.data.schema import DataSchema
from mmts.data.splits import Split
from mmts.encoders.kinds import ENCODER_KINDS
from mmts.errors import CheckpointError, ConfigError, raise_all
from mmts.files import write_whole
from mmts.heads.kinds import levels_to_calibrate
from mmts.interactions.kinds import INTERACTION_KINDS
from mmts.interrupts import interrupts_wait
from mmts.kinds import Origin
from mmts.model import ModelConfig, MultimodalForecaster

FORMAT_VERSION = 8
_METADATA_KEY = "mmts"
_TEXT_PREFIX = "text/"
"""Of the names of tensors that are no weights, but what turns texts into numbers."""

_FACTORS = "calibration/factors"
"""The name of the tensor that moves the quantiles."""


class CheckpointInfo(Config):
    """All that a checkpoint holds besides weights.

    config: resolved. fingerprint: SHA-256 of every training file. epoch: counted from 1.
    own_kinds: who gave the kinds that are not built in, and never where their code lies.
    calibration: of the quantiles; None without one.
    """

    format_version: int = FORMAT_VERSION
    config: ExperimentConfig
    data_schema: DataSchema
    scaling: dict[str, StreamScaling]
    split: Split
    fingerprint: dict[str, str]
    versions: dict[str, str]
    own_kinds: tuple[Origin, ...] = ()
    run_id: str | None = None
    epoch: int
    validation_loss: float
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Make sure that config, schema and scaling speak of the same streams and columns."""
        streams = self.data_schema.streams
        if not set(self.config.data.streams) == set(streams) == set(self.scaling):
            raise ValueError("config, schema and scaling name different streams")
        target = streams.get(self.data_schema.target_stream)
        if target is None or not self.data_schema.target_columns or target.clock is None:
            raise ValueError("the target is in no stream on a clock")
        for name, stream in streams.items():
            if any(column.width > 1 and column.type != "text" for column in stream.columns):
                raise ValueError(f"a column of stream {name} is too wide")
            made_up = stream.calendar
            if made_up is not None and (
                stream.clock != target.clock
                or stream.columns != calendar_columns(made_up.features, target.clock)
                or ("holiday" in made_up.features) != (made_up.holidays is not None)
            ):
                raise ValueError(f"stream {name} holds other features than the calendar's")
            if not self.scaling[name].fits(stream.columns):
                raise ValueError(f"columns of stream {name} and their scaling differ")
        if self.calibration is not None and not levels_to_calibrate(self.config.model.head):
            raise ValueError("a calibration, but no quantiles that it could move")
        return self

    def factors_shape(self) -> tuple[int, int, int] | None:
        """Return the shape of the calibration's factors; None without a calibration."""
        if self.calibration is None:
            return None
        schema, levels = self.data_schema, levels_to_calibrate(self.config.model.head)
        return self.calibration.shape(schema.horizon, len(schema.target_columns), len(levels))

    def build_model(self) -> MultimodalForecaster:
        """Build the model with the weights that it had before training."""
        return build_model(self.config, self.data_schema, self.scaling)


def build_model(
    config: ExperimentConfig, schema: DataSchema, scaling: dict[str, StreamScaling]
) -> MultimodalForecaster:
    """Build the model of a resolved config."""
    sizes = {name: category_sizes(stream, scaling[name]) for name, stream in schema.streams.items()}
    return MultimodalForecaster(schema, config.model, sizes, config.seed)


def current_versions() -> dict[str, str]:
    """Return the versions of what decides over the numbers in a forecast."""
    return {package: version(package) for package in ("mmts", "torch", "numpy", "pandas")}


def own_kinds(model: ModelConfig) -> tuple[Origin, ...]:
    """Return who gave the kinds of a resolved model that are not built in."""
    return (
        *INTERACTION_KINDS.origins(edge.kind for edge in model.interactions),
        *ENCODER_KINDS.origins(encoder.kind for encoder in model.encoders.values()),
    )


def save_checkpoint(path: str | Path, info: CheckpointInfo, weights: dict[str, Tensor]) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    for stream, scaling in info.scaling.items():
        tensors |= {
            f"{_TEXT_PREFIX}{stream}/{name}": torch.from_numpy(array)
            for name, array in scaling.arrays.items()
        }
    if info.calibration is not None:
        tensors[_FACTORS] = torch.from_numpy(info.calibration.factors).contiguous()
    with interrupts_wait():
        metadata = {_METADATA_KEY: json.dumps(info.model_dump(mode="json", by_alias=True))}
    write_whole(path, save(tensors, metadata))


def read_info(path: str | Path) -> CheckpointInfo:
    """Read all but the weights; raises CheckpointError when the file is no checkpoint."""
    _, info = _read_versioned_info(path)
    return info


def _read_versioned_info(path: str | Path) -> tuple[int, CheckpointInfo]:
    """Return the format that a file was written in, and what it says in the newest form."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file.") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of mmts, or a damaged one ({error}). "
            "Give a best.mmts or last.mmts that `mmts train` wrote."
        ) from None
    if _METADATA_KEY not in metadata:
        raise CheckpointError(f"{path}: holds tensors, but no checkpoint of mmts.")
    try:
        settings = json.loads(metadata[_METADATA_KEY])
    except json.JSONDecodeError:
        raise CheckpointError(f"{path}: the description of the model is damaged.") from None
    found = settings.get("format_version") if isinstance(settings, dict) else None
    if not isinstance(found, int) or found not in range(1, FORMAT_VERSION + 1):
        raise CheckpointError(
            f"{path}: format version {found!r}; this mmts reads versions 1 to {FORMAT_VERSION}. "
            "Use the version of mmts that wrote it, or train again."
        )
    upgrade(settings)
    _require_own_kinds(path, settings)
    try:
        return found, CheckpointInfo.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "kind":
            raise CheckpointError(f"{path}: {first['msg']}") from None
        place = ".".join(str(key) for key in first["loc"])
        raise CheckpointError(
            f"{path}: the description of the model is damaged: {place}: {first['msg']}."
        ) from None


def _require_own_kinds(path: str | Path, settings: dict[str, Any]) -> None:
    """Make sure that every kind which is not built in can be had here."""
    try:
        recorded = TypeAdapter(tuple[Origin, ...]).validate_python(settings.get("own_kinds", ()))
    except ValidationError:
        return  # The checks that follow say so.
    faults = [
        (INTERACTION_KINDS if origin.family == "interaction" else ENCODER_KINDS).fault(origin)
        for origin in recorded
    ]
    raise_all(CheckpointError, (f"{path}: {fault}" for fault in faults if fault))


def load_checkpoint(path: str | Path) -> tuple[CheckpointInfo, MultimodalForecaster]:
    """Read a checkpoint and rebuild its model, in evaluation mode, on the CPU.

    Raises CheckpointError when the file is no checkpoint, when its weights are not those of its
    model, or when they are not finite.
    """
    version, info = _read_versioned_info(path)
    try:
        model = info.build_model()
    except ConfigError as error:
        raise CheckpointError(f"{path}: the model cannot be built: {error}") from None
    weights = model.state_dict()
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    for stream, scaling in info.scaling.items():
        for name, shape in scaling.array_shapes().items():
            shapes[f"{_TEXT_PREFIX}{stream}/{name}"] = shape
    factors_shape = info.factors_shape()
    if factors_shape is not None:
        shapes[_FACTORS] = factors_shape
    tensors = _read_tensors(path)
    upgrade_weights(version, info.config, info.data_schema, weights, tensors)
    _check_tensors(path, tensors, shapes)
    model.load_state_dict({name: tensors[name] for name in weights})
    return _with_arrays(path, info, tensors), model.eval()


def _read_tensors(path: str | Path) -> dict[str, Tensor]:
    with safe_open(str(path), framework="pt") as file:
        # An open file of safetensors has keys, and cannot be iterated over.
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _check_tensors(
    path: str | Path, tensors: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Make sure that these are all tensors, of these shapes, and finite."""
    if set(tensors) != set(shapes):
        wrong = sorted(set(tensors) ^ set(shapes))
        raise CheckpointError(f"{path}: weights missing or unknown: {', '.join(wrong[:5])}.")
    for name, expected in shapes.items():
        shape = tuple(tensors[name].shape)
        if shape != expected:
            raise CheckpointError(
                f"{path}: weight {name} has shape {list(shape)}, not {list(expected)}."
            )
        if not torch.isfinite(tensors[name]).all():
            raise CheckpointError(f"{path}: weight {name} holds values that are not finite.")


def _with_arrays(
    path: str | Path, info: CheckpointInfo, tensors: dict[str, Tensor]
) -> CheckpointInfo:
    """Give the text features of every stream, and the calibration, back their arrays."""
    complete = {}
    for stream, scaling in info.scaling.items():
        prefix = f"{_TEXT_PREFIX}{stream}/"
        arrays = {name: tensors[prefix + name].numpy() for name in scaling.array_shapes()}
        try:
            complete[stream] = scaling.with_arrays(arrays)
        except ValueError as error:
            raise CheckpointError(f"{path}: stream {stream}: {error}.") from None
    calibration = info.calibration
    if calibration is not None:
        try:
            calibration = calibration.with_factors(tensors[_FACTORS].double().numpy())
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}.") from None
    return info.model_copy(update={"scaling": complete, "calibration": calibration})
