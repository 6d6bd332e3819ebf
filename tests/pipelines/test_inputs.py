"""No command overwrites data, or writes what it would read as data the next time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmts.config import load_config
from mmts.errors import OutputError
from mmts.experiment import train
from pipelines.calibrate import calibrate
from pipelines.check import check
from pipelines.evaluate import evaluate
from pipelines.explain import explain
from pipelines.forecast import forecast
from pipelines.inputs import require_apart_from_data
from pipelines.tune import tune
from tests.conftest import Command
from tests.factories import make_frames, make_settings, write_config, write_frames
from tests.pipelines.test_bad_input import assert_refused, snapshot


def write_pattern_world(folder: Path) -> Path:
    """Write the small world with a file per item in the folder `load`; returns its config."""
    frames = make_frames()
    load = frames.pop("load")
    write_frames(folder, frames)
    write_frames(folder / "load", {str(item): rows for item, rows in load.groupby("item")})
    settings = make_settings()
    settings["data"]["streams"]["load"]["path"] = "load/*.csv"
    settings["tuning"] = {"num_trials": 1, "search": {"training.learning_rate": [1e-3, 1e-2]}}
    return write_config(folder, settings)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint whose target is the pattern `load/*.csv` beside its folder."""
    folder = tmp_path_factory.mktemp("folders")
    config = load_config(write_pattern_world(folder))
    return train(config, folder / "run").checkpoint


OVERWRITING: dict[str, Callable[[Path, Path], None]] = {
    "forecast": lambda checkpoint, file: forecast(checkpoint, file),
    "a forecast from other data": lambda checkpoint, file: forecast(
        checkpoint, file, [f"load={file.parent.parent / 'plan.csv'}"]
    ),
    "a picture of a forecast": lambda checkpoint, file: forecast(
        checkpoint, file.parent.parent / "forecast.csv", plot=file
    ),
    "check": lambda checkpoint, file: check(file.parent.parent / "config.yaml", plot=file),
    "calibrate": lambda checkpoint, file: calibrate(checkpoint, file),
}


@pytest.mark.parametrize("command", OVERWRITING)
def test_no_file_of_a_pattern_is_overwritten(command: str, checkpoint: Path) -> None:
    folder = checkpoint.parent.parent
    before = snapshot(folder)
    with pytest.raises(OutputError, match=r"north\.csv: holds data of a stream"):
        OVERWRITING[command](checkpoint, folder / "load" / "north.csv")
    assert snapshot(folder) == before


WRITING: dict[str, Callable[[Path, Path], None]] = {
    **{
        command: lambda checkpoint, folder, run=run: run(checkpoint, folder / "new.csv")
        for command, run in OVERWRITING.items()
    },
    "evaluate": lambda checkpoint, folder: evaluate(checkpoint, folder),
    "backtest": lambda checkpoint, folder: evaluate(checkpoint, folder, with_backtest=True),
    "explain": lambda checkpoint, folder: explain(checkpoint, folder),
    "tune": lambda checkpoint, folder: tune(folder.parent / "config.yaml", study=folder),
}


@pytest.mark.parametrize("command", WRITING)
def test_nothing_is_written_that_would_be_read_as_data_the_next_time(
    command: str, checkpoint: Path
) -> None:
    folder = checkpoint.parent.parent
    before = snapshot(folder)
    with pytest.raises(OutputError, match=r"\.csv: would be read as data the next time, as .*load"):
        WRITING[command](checkpoint, folder / "load")
    assert snapshot(folder) == before


def test_the_real_command_says_so_and_ends_with_2(mmts: Command, checkpoint: Path) -> None:
    file = checkpoint.parent.parent / "load" / "north.csv"
    before = file.read_bytes()
    done = mmts("forecast", checkpoint, "--output", file)
    assert_refused(done, f"OutputError: {file}: holds data of a stream")
    assert file.read_bytes() == before


def fill(folder: Path) -> Path:
    """Write a folder of data with a folder in it, and return it."""
    for name in ("load/a.csv", "load/deep/b.csv", "load/c.parquet", "plan.csv"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text("time,load\n")
    return folder


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("load", "load/a.csv"),
        ("load", "load/c.parquet"),
        ("load/", "load/deep/../new.CSV"),
        ("load", "load/new.tsv.gz"),
        ("load/*", "load/new.png"),
        ("load/*.csv", "load/new.csv"),
        ("load/[n-z]*.csv", "load/new.csv"),
        ("load/**/*.csv", "load/new.csv"),
        ("load/**/*.csv", "load/deep/deeper/new.csv"),
        ("*/*.csv", "load/new.csv"),
        ("link/*.csv", "load/new.csv"),
        ("load/*.csv", "link/new.csv"),
        ("link", "load/new.csv"),
        ("load/*.csv", "elsewhere.csv"),
        ("plan.csv", "plan.csv"),
    ],
)
def test_a_file_that_a_source_takes_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, output: str
) -> None:
    monkeypatch.chdir(fill(tmp_path))
    Path("link").symlink_to("load")
    Path("elsewhere.csv").symlink_to("load/beside.csv")
    for place in (Path(source), tmp_path / source):
        with pytest.raises(OutputError):
            require_apart_from_data([place], [Path(output)])


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("load", "load/new.png"),
        ("load", "load/.new.csv"),
        ("load", "load/new.json.gz"),
        ("load", "load/deep/new.csv"),
        ("load/*.csv", "load/new.png"),
        ("load/*.csv", "load/deep/new.csv"),
        ("load/[a-c]*.csv", "load/new.csv"),
        ("load/**/*.csv", "new.csv"),
        ("plan.csv", "new.csv"),
        ("none.csv", "new.csv"),
        ("none/*.csv", "new.csv"),
    ],
)
def test_a_file_that_no_source_takes_in_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, output: str
) -> None:
    monkeypatch.chdir(fill(tmp_path))
    require_apart_from_data([source], [Path(output)])


def test_two_outputs_are_two_files() -> None:
    with pytest.raises(OutputError, match="is read or written by this command already"):
        require_apart_from_data([], [Path("a.csv"), Path("a.csv")])
