"""How far a training came: the file from which it goes on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmts.checkpoint import build_model
from mmts.config import ExperimentConfig, validate_config
from mmts.config_base import Config
from mmts.data.dataset import Dataset
from mmts.errors import RunError
from mmts.files import write_whole
from mmts.model import MultimodalForecaster
from mmts.run_folders.comparison import compare_settings
from mmts.training.optimisation import part_weights

RESUME = "resume.safetensors"
FORMAT_VERSION = 3
_MOMENTS = ("exp_avg", "exp_avg_sq")
_METADATA_KEY = "mmts-resume"
_MODEL = "model/"
_MOST_SHOWN = 10

Stage = Literal["begun", "trains", "trained", "finished"]


class TrainingState(Config):
    """All but the tensors of how far a training came; counts are from 0.

    given: the config that it was begun with. config: the same, with what was chosen for the linear
    path once that is fitted. fingerprint: SHA-256 of every file of the data.
    num_processes: that trained together; None in what older versions wrote.
    run_id: of MLflow, where one was to be continued or was known when this was written.
    stage: `begun` before the model is there, `trains`, `trained` when the last epoch is over, and
    `finished` when all is kept and recorded. epoch: whole epochs trained; epoch_steps: steps taken
    of the next one; num_steps: in all. wait_count, stopped_epoch: of early stopping.
    seconds: since the training began, without those between a kill and what followed it;
    epoch_seconds, waited_seconds: of the next epoch, and how many of these it waited for data.
    """

    format_version: int = FORMAT_VERSION
    given: dict[str, Any]
    config: dict[str, Any]
    fingerprint: dict[str, str]
    versions: dict[str, str]
    num_processes: int | None = None
    run_id: str | None = None
    stage: Stage = "begun"
    num_parameters: int = 0
    epoch: int = 0
    epoch_steps: int = 0
    num_steps: int = 0
    wait_count: int = 0
    stopped_epoch: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    waited_seconds: float = 0.0


class StateFile:
    """Writes the state of one training into its folder, each time whole or not at all."""

    def __init__(self, folder: Path, state: TrainingState) -> None:
        """Take what is known so far; nothing is written yet."""
        self.path = folder / RESUME
        self.state = state

    def know(self, **facts: Any) -> None:
        """Take in what is to be written from now on."""
        self.state = self.state.model_copy(update=facts)

    def write(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Write what is known, with the tensors that the next step depends on."""
        metadata = {_METADATA_KEY: json.dumps(self.state.model_dump(mode="json"))}
        held = {
            name: tensor.detach().cpu().contiguous() for name, tensor in (tensors or {}).items()
        }
        write_whole(self.path, save(held, metadata))


@dataclass(frozen=True)
class KeptState:
    """A state as it was found in a folder.

    tensors: on the CPU; none before the model was there, nor when the training was finished.
    """

    folder: Path
    state: TrainingState
    tensors: Mapping[str, Tensor]

    @property
    def has_model(self) -> bool:
        """Whether the training had a model to go on with."""
        return self.state.stage in ("trains", "trained")

    def experiment(self) -> ExperimentConfig:
        """Return the config to go on with; raises ConfigError, as where a kind is not there."""
        settings = self.state.config if self.has_model else self.state.given
        return validate_config(settings, str(self.folder / RESUME))

    def require_experiment(self, settings: Mapping[str, Any], where: str, given: bool) -> None:
        """Make sure that settings are those of this training; raises RunError with what differs.

        where: they stand. given: whether they are to be those that it was begun with.
        """
        ours = self.state.given if given else self.state.config
        differing = compare_settings(ours, settings)
        if not differing:
            return
        lines = [f"{key}: {a!r} in the run, {b!r} in {where}" for key, (a, b) in differing.items()]
        if len(lines) > _MOST_SHOWN:
            lines[_MOST_SHOWN:] = [f"and {len(lines) - _MOST_SHOWN} more"]
        raise RunError(
            "\n  ".join([f"{self.folder}: is the run of another experiment than {where}:", *lines])
            + "\n  Go on with what was begun, or train in a new folder."
        )

    def require_untouched(self, settings: dict[str, Any], where: str) -> None:
        """Make sure that the config that stands in the folder is that of this training.

        Raises RunError with what differs.
        """
        if self.has_model:
            self.require_experiment(settings, where, given=False)
            return
        model, begun = settings.get("model"), self.state.given.get("model") or {}
        if isinstance(model, dict) and model.get("linear") and begun.get("linear"):
            # It may say what was chosen for the linear path, which is fitted once more.
            left_open = {key: "auto" for key, value in begun["linear"].items() if value == "auto"}
            settings = {**settings, "model": {**model, "linear": {**model["linear"], **left_open}}}
        self.require_experiment(settings, where, given=True)

    def require_data(self, fingerprint: Mapping[str, str]) -> None:
        """Make sure that the data are the same to the byte; raises RunError."""
        ours = self.state.fingerprint
        changed = [n for n in {**ours, **fingerprint} if ours.get(n) != fingerprint.get(n)]
        if changed:
            raise RunError(
                f"{self.folder}: was trained on other data: the content of stream "
                f"{', '.join(sorted(changed))} has changed. Put back what it was trained on, or "
                "train in a new folder."
            )

    def build_model(self, config: ExperimentConfig, dataset: Dataset) -> MultimodalForecaster:
        """Build the model with the weights that it had; raises RunError for what does not fit."""
        model = build_model(config, dataset.schema, dataset.scaling)
        weights = model.state_dict()
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        shapes: dict[str, Any] = {"train_sum": (), "best_score": ()}
        shapes |= {_MODEL + name: tuple(weight.shape) for name, weight in weights.items()}
        if config.training.weight_averaging is not None:
            shapes |= {f"average/{n}": tuple(weight.shape) for n, weight in enumerate(trained)}
        # A weight that has never had a gradient has none of these.
        moments: dict[str, Any] = {}
        for place, weight in enumerate(chain(*part_weights(trained))):
            moments |= {f"optimizer/{place}/{m}": tuple(weight.shape) for m in _MOMENTS}
            moments[f"optimizer/{place}/step"] = ()
        found = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        missing = shapes.keys() - found.keys()
        if missing or any({**shapes, **moments}.get(n) != shape for n, shape in found.items()):
            raise self.damaged("what it holds is not of this model")
        model.load_state_dict({name: self.tensors[_MODEL + name] for name in weights})
        return model

    def damaged(self, how: str) -> RunError:
        """Return what to tell where the file is not as it was written."""
        return _damaged(self.folder / RESUME, how)


def model_tensors(model: MultimodalForecaster) -> dict[str, Tensor]:
    """Return the weights of a model, and what else it keeps, by the names that they have here."""
    return {_MODEL + name: weight for name, weight in model.state_dict().items()}


def has_unfinished_state(folder: Path) -> bool:
    """Tell whether a training in a folder waits to go on; damaged ones do not."""
    try:
        return read_state(folder).state.stage != "finished"
    except RunError:
        return False


def read_state(folder: Path) -> KeptState:
    """Read how far the training of a folder came.

    Nothing in the file can run. Raises RunError where there is no such file, and for one that is
    damaged or of another version.
    """
    path = folder / RESUME
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            # An open file of safetensors has keys, and cannot be iterated over.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(_say_absent(folder)) from None
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from None
    try:
        facts = json.loads(metadata[_METADATA_KEY])
        version = facts["format_version"]
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, "it says nothing of a training") from None
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path}: is of format {version!r}, and this mmts reads format {FORMAT_VERSION}. "
            "Go on with the version of mmts that began the training, or train in a new folder."
        )
    try:
        state = TrainingState.model_validate(facts)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(key) for key in first["loc"])
        raise _damaged(path, f"{place}: {first['msg']}") from None
    return KeptState(folder, state, tensors)


def _say_absent(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: no such folder. Nothing was trained there: leave out --resume."
    return (
        f"{folder}: holds no {RESUME}, from which a training could go on. Name the folder of a run "
        "that `mmts train` began."
    )


def _damaged(path: Path, how: str) -> RunError:
    return RunError(
        f"{path}: is damaged, or no file of mmts ({how}). Train in a new folder; the checkpoints "
        "beside it can be used as they are."
    )
