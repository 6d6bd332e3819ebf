"""Training a model anew on what was known before a cut-off."""

from __future__ import annotations

import json
import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mmts.backtest.cutoffs import validation_begin
from mmts.checkpoint import CheckpointInfo
from mmts.config import ExperimentConfig
from mmts.data.config import SplitConfig
from mmts.data.dataset import Dataset
from mmts.errors import OutputError, raise_all
from mmts.experiment import train
from mmts.files import make_folder, output_error, write_whole
from mmts.linear.path import LinearConfig
from mmts.run_folders.names import BEST
from mmts.training.assignment import Trial, read_training_data

FOLDER = "refits"
"""Below that of the backtest; in it, a folder per cut-off."""

_RECORD = "refit.json"
_PARTIAL = ".partial"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)


class Refits:
    """Trains one model per cut-off, by the config of a checkpoint, and keeps them in a folder."""

    def __init__(
        self,
        info: CheckpointInfo,
        dataset: Dataset,
        folder: Path,
        store: Path,
        root: str | Path | None = None,
    ) -> None:
        """Take the model's description and its data.

        folder: of the backtest. store: the folder of runs, for MLflow. root: another folder that
        holds the files.
        """
        self.info = info
        self.dataset = dataset
        self.folder = folder / FOLDER
        self.store = store
        self.root = info.config.data.root if root is None else str(root)

    def require_own(self, moments: tuple[int, ...], hashes: dict[str, str]) -> None:
        """Make sure that what is there already is what would be trained; raises OutputError."""
        raise_all(
            OutputError,
            (
                f"{place}: holds a model of another config, data or cut. Name another folder with "
                "--output, or remove this one."
                for moment in moments
                if (place := self.place(moment)).exists()
                and self._recorded(place) != self._record(self.config_before(moment), hashes)
            ),
        )

    def place(self, moment: int) -> Path:
        """Return the folder of the model trained before a cut-off."""
        time = _time_of(moment)
        name = time.strftime("%Y%m%dT%H%M%S")
        return self.folder / (name + (f".{time.microsecond:06d}" if time.microsecond else ""))

    def config_before(self, moment: int) -> ExperimentConfig:
        """Return the config of a training that ends before a cut-off.

        The test split begins there, and the validation split is as long as it was. What was chosen
        for the linear path is left open again, as it was chosen on later data. One process trains:
        several would come to the same.
        """
        config, split = self.info.config, self.dataset.split
        data = config.data.with_usual_cache().model_copy(
            update={
                "root": self.root,
                "split": SplitConfig(
                    validation=self._cut(validation_begin(self.dataset, moment)),
                    test=self._cut(moment),
                    end=self._cut(split.end),
                ),
            }
        )
        model = config.model
        if model.linear is not None:
            linear = LinearConfig(calendar=model.linear.calendar)
            model = model.model_copy(update={"linear": linear})
        training = config.training.model_copy(update={"devices": 1})
        changes: dict[str, Any] = {"data": data, "model": model, "training": training}
        if self.info.calibration is not None:
            # Also one that came after the training.
            changes["calibration"] = self.info.calibration.config
        return config.model_copy(update=changes)

    def train(self, moment: int, hashes: dict[str, str]) -> Path:
        """Return the checkpoint of the model trained before a cut-off, which is trained if need be.

        hashes: SHA-256 of what each stream is read from, as they were when the backtest began.
        """
        place = self.place(moment)
        if place.exists():
            logger.info("%s: trained before", place)
            return place / BEST
        config = self.config_before(moment)
        # What a training that was broken off has left.
        partial = place.with_name(place.name + _PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        make_folder(self.folder)
        data = read_training_data(config.data)
        if data.hashes != hashes:
            raise OutputError(
                "the files of the data have changed while the backtest was running. Run it again."
            )
        train(
            config,
            partial,
            trial=Trial(
                name=f"refit-{place.name}",
                began=lambda run_id: None,
                data=data,
                goes_on=lambda epoch, loss, is_last: True,
                params={"backtest.cutoff": place.name},
                store=self.store,
                parent_run_id=self.info.run_id,
            ),
        )
        record = json.dumps(self._record(config, hashes), indent=2)
        write_whole(partial / _RECORD, record + "\n")
        # Only now it counts as trained.
        try:
            partial.replace(place)
        except OSError as error:
            raise output_error(place, error) from None
        return place / BEST

    def _cut(self, moment: int) -> datetime:
        time = _time_of(moment)
        return time if self.dataset.schema.has_time_zone else time.replace(tzinfo=None)

    def _record(self, config: ExperimentConfig, hashes: dict[str, str]) -> dict[str, Any]:
        """Return all that decides over the weights."""
        settings = config.to_json()
        for key in ("root", "cache", "cache_folder"):
            del settings["data"][key]
        for key in ("tracking", "tuning"):
            del settings[key]
        return {"config": settings, "data": dict(sorted(hashes.items()))}

    def _recorded(self, place: Path) -> Any:
        try:
            return json.loads((place / _RECORD).read_text())
        except (OSError, ValueError):
            return None


def _time_of(moment: int) -> datetime:
    return _EPOCH + timedelta(microseconds=moment)
