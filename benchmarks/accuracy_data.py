"""The data of the accuracy benchmark: the files as the protocol wants them, and configs for arms.

Everything here changes which streams are read and where they are cut. The model is left to the
defaults of the config.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from accuracy_sets import AccuracySet
from text_controls import rewrite_texts

from mmts.config import ExperimentConfig, resolve_config, validate_config
from mmts.config_yaml import apply_overrides, read_yaml
from mmts.data.dataset import Dataset
from mmts.errors import DataError

ROOT = Path(__file__).resolve().parent.parent

PRIOR, PRIOR_COLUMN = "prior", "prior_history_avg"
"""Of Time-MMD: the mean of earlier years at this time of the year, and the stream made of it."""

FILLED = "filled"
"""Of EPA air: the stream of columns filled forward."""

NO_TEXT = "model, no text"
TEXT, SHUFFLED, EMPTY = "model, text", "model, shuffled text", "model, empty text"
TEXT_VARIANTS = {TEXT: "as it is", SHUFFLED: "shuffled", EMPTY: "empty"}


@dataclass(frozen=True)
class PreparedSet:
    """A set whose files are in place.

    settings: of the YAML, cut and rooted, without a word about the model. folder: where files may
    be written. num_test_rows: None where rows stand on several clocks.
    """

    name: str
    chosen: AccuracySet
    settings: dict[str, Any]
    folder: Path
    num_test_rows: int | None

    def config(
        self, horizon: int, *changes: str, without: Sequence[str] = (), seed: int = 1
    ) -> ExperimentConfig:
        """Return the resolved config at a horizon; without: streams that are not read."""
        settings = copy.deepcopy(self.settings)
        for stream in without:
            settings["data"]["streams"].pop(stream, None)
        length = f"{horizon}mo" if str(settings["data"]["horizon"]).endswith("mo") else horizon
        wanted = [f"data.horizon={length}", f"seed={seed}", *changes]
        apply_overrides(settings, wanted)
        config = validate_config(settings, f"{self.name}, {horizon} steps")
        return resolve_config(config, Path(settings["data"]["root"]))

    def streams(self, *kinds: str) -> list[str]:
        """Name the streams that have one of these keys, such as `calendar` or `text`."""
        found = self.settings["data"]["streams"].items()
        return [name for name, stream in found if any(stream.get(kind) for kind in kinds)]


def prepare(name: str, chosen: AccuracySet, data: Path, folder: Path) -> PreparedSet:
    """Put the files of a set in place; folder: where those may go that must be changed.

    Raises DataError when a file is missing.
    """
    settings = read_yaml(ROOT / chosen.config)
    kept = {key: value for key, value in settings.items() if key in ("name", "data")}
    kept["data"]["root"] = str(data.resolve())
    kept["tracking"] = {"enabled": False}
    apply_overrides(kept, chosen.changes)
    streams = kept["data"]["streams"]
    path = data / streams[chosen.target]["path"]
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Name the folder of the sets by --data.")
    family = path.relative_to(data).parts[0]
    if family == "epf":
        _cut(kept, len(pd.read_csv(path)))
        if not chosen.known_future:
            # What was published ahead is read like any other measurement, when its hour is over.
            streams["ahead"]["past"] = streams["ahead"].pop("future")
    elif family == "time_mmd":
        _prepare_time_mmd(kept, chosen, path, folder)
    elif family == "epa_air":
        table = pd.read_csv(path).drop(columns="record_id", errors="ignore").ffill()
        filled = folder / path.parent.name / path.name
        filled.parent.mkdir()
        table.to_csv(filled, index=False)
    split = kept["data"].get("split", {})
    num_test_rows = split["end"] - split["test"] if "end" in split else None
    return PreparedSet(name, chosen, kept, folder, num_test_rows)


def _cut(settings: dict[str, Any], num_rows: int) -> None:
    """Cut into 70, 10 and 20 % of the rows, as the literature rounds."""
    test = num_rows - int(0.2 * num_rows)
    split = {"validation": int(0.7 * num_rows), "test": test, "end": num_rows}
    settings["data"]["split"] = split


def _prepare_time_mmd(
    settings: dict[str, Any], chosen: AccuracySet, path: Path, folder: Path
) -> None:
    """Write the rows by date, without empty targets and `preds`, and add the seasonal prior.

    The protocol counts rows. In Health five weeks are stamped twice and five not at all: where
    rows stand off a grid of weeks or days, each is stamped a step after the one before, and its
    text is known as long after its stamp as it was. Energy and Climate are left as they are.
    """
    table = pd.read_csv(path).drop(columns="preds", errors="ignore").dropna(subset=["OT"])
    table["date"] = pd.to_datetime(table["date"])
    table = table.sort_values("date", kind="stable", ignore_index=True)
    streams = settings["data"]["streams"]
    steps = table["date"].diff().dropna()
    step = steps[steps > pd.Timedelta(0)].mode().iloc[0]
    if step <= pd.Timedelta(days=7) and (steps != step).any():
        grid = table["date"].iloc[0] + step * pd.Series(range(len(table)))
        table["end_date"] = pd.to_datetime(table["end_date"]) + (grid - table["date"])
        table["date"] = grid
    table.to_csv(folder / path.name, index=False, date_format="%Y-%m-%d")
    settings["data"]["root"] = str(folder)
    for stream in streams.values():
        if "path" in stream:
            stream["path"] = path.name
            stream.pop("duplicates", None)
    # It is made of values a year old and older, so that no horizon of up to a year knows more
    # than its origin.
    streams[PRIOR] = {
        "path": path.name, "time": "date", "future": [PRIOR_COLUMN], "context_length": 1,
    }  # fmt: skip
    _cut(settings, len(table))


def filled_stream(prepared: PreparedSet) -> str:
    """Return the change that adds the columns, every gap filled by the value before it."""
    air = prepared.settings["data"]["streams"][prepared.chosen.target]
    county = Path(air["path"]).parent.name
    columns = ", ".join(air["target"])
    return (
        f"data.streams.{FILLED}={{path: {prepared.folder}/{county}/time_series.csv, time: "
        f"{air['time']}, item_from: folder_name, past: [{columns}], context_length: "
        f"{air['context_length']}}}"
    )


def with_texts(config: ExperimentConfig, arm: str, folder: Path) -> ExperimentConfig:
    """Return the config of a text arm, with its texts in copies of the files."""
    place = folder / f"{TEXT_VARIANTS[arm].replace(' ', '-')}-{config.seed}"
    return rewrite_texts(config, TEXT_VARIANTS[arm], place)


def check_windows(prepared: PreparedSet, horizon: int, dataset: Dataset) -> None:
    """Hold the test windows against the protocol, stride 1 and none left out; raises DataError."""
    wanted = prepared.chosen.num_windows.get(horizon)
    if wanted is None and prepared.num_test_rows is not None:
        wanted = prepared.num_test_rows - horizon + 1
    found = len(dataset.windows("test"))
    if wanted is not None and found != wanted:
        raise DataError(
            f"{prepared.name}, {horizon} steps: {found} test windows, and the protocol has "
            f"{wanted}. Give the published files, unchanged."
        )
