"""What a training is given, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmts.data.config import DataConfig
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.source_files import file_stamps, fingerprint
from mmts.errors import DataError
from mmts.training.linear_start import LinearFits


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves behind.

    checkpoint: best.mmts, in the run's own folder. run_id: of MLflow; None when the run is not
    tracked. num_epochs: trained; best_epoch: the one that is kept, 0 for what training starts
    from, with the linear path alone. best_loss: on validation. seconds: in all, reading included.
    """

    checkpoint: Path
    run_id: str | None
    num_parameters: int
    num_epochs: int
    best_epoch: int
    best_loss: float
    seconds: float

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.checkpoint.parent


@dataclass(frozen=True)
class TrainingData:
    """What a training reads.

    hashes: SHA-256 of what each stream was read from. linear_fits: found so far, as several
    trainings may begin with the same.
    """

    dataset: Dataset
    hashes: dict[str, str]
    linear_fits: LinearFits = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What makes a training one trial of a study.

    name: of its run in MLflow. began: told the id of that run, or None.
    data: read before, as several trials share them.
    goes_on: told the number of each epoch, from 1, its validation loss, and whether it is the last
    one anyway; answers whether there shall be another one.
    params: what is tried, by key of the config.
    store: the folder of runs, for MLflow. parent_run_id: of the study; None if not tracked.
    """

    name: str
    began: Callable[[str | None], None]
    data: TrainingData
    goes_on: Callable[[int, float, bool], bool]
    params: Mapping[str, str | int | float | bool | None]
    store: Path
    parent_run_id: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """What shows the run below that of the study."""
        return {} if self.parent_run_id is None else {"mlflow.parentRunId": self.parent_run_id}


def read_training_data(config: DataConfig) -> TrainingData:
    """Read what trainings need; raises DataError with every fault, or where files change meanwhile.

    What is written down as trained on would else be something that nobody read.
    """
    before = file_stamps(config)
    found = TrainingData(load_dataset(config), fingerprint(config))
    changed = [name for name, stamps in file_stamps(config).items() if before.get(name) != stamps]
    if changed:
        raise DataError(
            f"the files of {', '.join(changed)} changed while they were read. Run this again when "
            "nothing writes to them."
        )
    return found
