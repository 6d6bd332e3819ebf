"""One experiment, one YAML: read, checked, and completed with every default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from mmts.calibration.config import CalibrationConfig
from mmts.config_base import Config
from mmts.config_errors import describe_faults
from mmts.config_yaml import apply_overrides, read_yaml, set_key, write_yaml
from mmts.data.config import DataConfig
from mmts.encoders.kinds import default_encoder
from mmts.errors import ConfigError, nearest, raise_all
from mmts.heads.kinds import levels_to_calibrate
from mmts.interrupts import interrupts_wait
from mmts.model import ModelConfig
from mmts.tracking.config import TrackingConfig
from mmts.training.config import TrainingConfig
from mmts.tuning.config import TuningConfig


class ExperimentConfig(Config):
    """Everything that a training needs to know."""

    name: str = Field(
        min_length=1,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$",
        description="Name of the experiment, also of its folder of runs.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of weights, order and dropout.")
    data: DataConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    calibration: CalibrationConfig | None = Field(
        None,
        description="How quantiles are set right on the validation split at the end of a training; "
        "null for not at all. `mmts calibrate` does it to a finished checkpoint.",
    )
    tracking: TrackingConfig = TrackingConfig()
    tuning: TuningConfig | None = Field(
        None, description="What `mmts tune` searches; a training by itself takes no notice of it."
    )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values that `from_json` reads."""
        with interrupts_wait():
            return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """Write the settings as a YAML that trains as it is."""
        return write_yaml(self.to_json())


def load_config(
    path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()
) -> ExperimentConfig:
    """Read a config, with overrides such as `training.batch_size=64`.

    overrides: as on the command line, or in Python {"training.batch_size": 64}.

    Returns the resolved config: an encoder for every stream, presets as plain edges, the data's
    root as an absolute path, and its time zone in every stream. Raises ConfigError with every
    fault at once.
    """
    path = Path(path)
    settings = read_yaml(path)
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            set_key(settings, key, value, f"override {key}")
    else:
        apply_overrides(settings, [overrides] if isinstance(overrides, str) else overrides)
    return resolve_config(validate_config(settings, str(path)), path.parent)


def validate_config(settings: dict[str, Any], where: str) -> ExperimentConfig:
    """Check settings as read from YAML or JSON; raises ConfigError with every fault at once."""
    try:
        return ExperimentConfig.model_validate(settings)
    except ValidationError as error:
        faults = describe_faults(error, ExperimentConfig, settings)
        raise ConfigError("\n".join([f"{where}:", *(f"  {fault}" for fault in faults)])) from None


def resolve_config(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """Fill in what depends on other parts of the config, and check the graph.

    folder: where a relative `data.root` begins. Raises ConfigError.
    """
    streams = config.data.streams
    unknown = [name for name in config.model.encoders if name not in streams]
    if unknown:
        faults = [
            f"model.encoders.{n}: there is no such stream{nearest(n, streams)}" for n in unknown
        ]
        raise ConfigError("\n".join(faults))
    encoders = {
        name: config.model.encoders.get(name, default_encoder(stream))
        for name, stream in streams.items()
    }
    misfits = {name: encoder.fault(streams[name]) for name, encoder in encoders.items()}
    raise_all(
        ConfigError,
        [f"model.encoders.{name}: {fault}." for name, fault in misfits.items() if fault],
    )
    if config.calibration is not None and not levels_to_calibrate(config.model.head):
        raise ConfigError(
            "calibration: the head gives no quantile but the median, so that nothing can be set "
            "right. Take model.head.kind: quantile with more levels, or calibration: null."
        )
    model = config.model.model_copy(update={"encoders": encoders})
    target = config.data.target_stream
    future = [name for name, stream in streams.items() if stream.future or stream.calendar]
    model.schedule(target, future)
    edges = tuple(
        edge.model_copy(update={"name": name}) for name, edge in model.edges(target).items()
    )
    model = model.model_copy(update={"interactions": edges})
    zone = config.data.time_zone
    data = config.data.model_copy(
        update={
            "root": str((folder / config.data.root).resolve()),
            "streams": {
                name: stream.model_copy(update={"time_zone": stream.time_zone or zone})
                for name, stream in streams.items()
            },
        }
    )
    return config.model_copy(update={"data": data, "model": model})
