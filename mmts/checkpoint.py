"""The checkpoint: one safetensors file with everything that a forecast needs, and no code.

Weights are tensors; all else is JSON in the file's metadata. Nothing in it can run, whoever
made it.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import FailFast, Field, TypeAdapter, ValidationError, model_validator
from torch import Tensor

from mmts.calibration.conformal import Calibration
from mmts.checkpoint_file import read_description, read_tensors, write_checkpoint_file
from mmts.checkpoint_versions import (
    NETWORK_SHARE,
    streams_placed_anew,
    upgrade,
    upgrade_weights,
)
from mmts.config import ExperimentConfig
from mmts.config_base import Config
from mmts.data.calendar_features import calendar_columns
from mmts.data.scaling import StreamScaling, category_sizes
from mmts.data.schema import DataSchema
from mmts.data.splits import Split
from mmts.encoders.kinds import ENCODER_KINDS
from mmts.errors import CheckpointError, ConfigError, raise_all
from mmts.heads.kinds import levels_to_calibrate
from mmts.interactions.kinds import INTERACTION_KINDS
from mmts.interrupts import interrupts_wait
from mmts.kinds import Origin
from mmts.layers.allowance import at_most
from mmts.model import ModelConfig, MultimodalForecaster

FORMAT_VERSION = 13
_SMALL, _LARGER = 1 << 26, 4
"""Values that a model may have beyond what its file accounts for: so many in any case, and so many
for each byte, as layers that nothing reads are built, and not kept."""

_TEXT_PREFIX = "text/"
"""Of the names of tensors that are no weights, but what turns texts into numbers."""

_Form = tuple[tuple[int, ...], torch.dtype]
"""Shape and type of a tensor."""

_FACTORS = "calibration/factors"
"""The name of the tensor that moves the quantiles."""

_MOST_FAULTS = 1000
"""Faults of a description beyond which none of them is told apart."""

logger = logging.getLogger(__name__)

_OWN_KINDS = TypeAdapter(Annotated[tuple[Origin, ...], FailFast()])


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
    run_id: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,255}$")
    epoch: int
    validation_loss: float
    calibration: Calibration | None = None

    @property
    def is_calibrated_since(self) -> bool:
        """Whether quantiles were calibrated after the training, which did not."""
        return self.calibration is not None and self.config.calibration is None

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Make sure that config, schema and scaling speak of the same streams and columns."""
        streams = self.data_schema.streams
        named = (self.config.data.streams, self.config.model.encoders, self.scaling)
        if any(set(names) != set(streams) for names in named):
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
        description = info.model_dump(mode="json", by_alias=True)
    write_checkpoint_file(path, description, tensors)


def read_info(path: str | Path) -> CheckpointInfo:
    """Read all but the weights; raises CheckpointError when the file is no checkpoint."""
    _, info = _read_versioned_info(path)
    return info


def _read_versioned_info(path: str | Path) -> tuple[int, CheckpointInfo]:
    """Return the format that a file was written in, and what it says in the newest form."""
    settings = read_description(path)
    found = settings.get("format_version")
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
        count = error.error_count()
        if count > _MOST_FAULTS:
            # To list them would take hundreds of times what the file does.
            raise CheckpointError(
                f"{path}: the description of the model is damaged at {count:,} places."
            ) from None
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
        recorded = _OWN_KINDS.validate_python(settings.get("own_kinds", ()))
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
    for stream in streams_placed_anew(version, info.config, info.data_schema):
        logger.warning(
            "%s: when it was trained, rows of stream %s stood at wrong times in its model, and now "
            "stand at their own, for which it was not trained. Train it again.",
            path,
            stream,
        )
    model = _build_bounded(path, info)
    weights = model.state_dict()
    forms: dict[str, _Form] = {
        name: (tuple(weight.shape), weight.dtype) for name, weight in weights.items()
    }
    for stream, scaling in info.scaling.items():
        for name, shape in scaling.array_shapes().items():
            forms[f"{_TEXT_PREFIX}{stream}/{name}"] = (shape, torch.float32)
    factors_shape = info.factors_shape()
    if factors_shape is not None:
        forms[_FACTORS] = (factors_shape, torch.float64)
    tensors = read_tensors(path)
    upgrade_weights(version, info.config, info.data_schema, weights, tensors)
    _check_tensors(path, tensors, forms)
    shares = tensors.get(NETWORK_SHARE)
    if shares is not None and not ((shares >= 0) & (shares <= 1)).all():
        raise CheckpointError(
            f"{path}: weight {NETWORK_SHARE} holds {shares.tolist()}, which are no shares of a way."
        )
    model.load_state_dict({name: tensors[name] for name in weights})
    return _with_arrays(path, info, tensors), model.eval()


def _build_bounded(path: str | Path, info: CheckpointInfo) -> MultimodalForecaster:
    """Build the model, unless it would be far larger than the file that holds its weights."""
    try:
        with at_most(_SMALL + _LARGER * Path(path).stat().st_size):
            return info.build_model()
    except ConfigError as error:
        raise CheckpointError(f"{path}: the model cannot be built: {error}") from None
    except MemoryError as error:
        raise CheckpointError(
            f"{path}: damaged: the model that it describes is far larger than the file with its "
            f"weights ({error}). Copy it again from where it was trained."
        ) from None


def _check_tensors(path: str | Path, tensors: dict[str, Tensor], forms: dict[str, _Form]) -> None:
    """Make sure that these are all tensors, of these shapes and types, and finite."""
    if set(tensors) != set(forms):
        wrong = sorted(set(tensors) ^ set(forms))
        raise CheckpointError(f"{path}: weights missing or unknown: {', '.join(wrong[:5])}.")
    for name, (shape, dtype) in forms.items():
        found = tensors[name]
        if tuple(found.shape) != shape:
            raise CheckpointError(
                f"{path}: weight {name} has shape {list(found.shape)}, not {list(shape)}."
            )
        if found.dtype != dtype:
            raise CheckpointError(f"{path}: weight {name} holds {found.dtype}, not {dtype}.")
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
            calibration = calibration.with_factors(tensors[_FACTORS].numpy())
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}.") from None
    return info.model_copy(update={"scaling": complete, "calibration": calibration})
