"""Bad input by the real command: what, where and what to do, exit code 2, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from pipelines.explain import _renew_report
from tests.conftest import Command
from tests.factories import make_frames, make_settings, write_config, write_frames

if TYPE_CHECKING:
    from mmts.data.dataset import Dataset
    from mmts.forecasting import Forecaster

Frames = dict[str, pd.DataFrame]
Settings = dict[str, Any]


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_refused(done: Any, *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    # A message that ends in what to do.
    assert done.stderr.rstrip().endswith((".", "?"))


def missing_file(frames: Frames, settings: Settings) -> None:
    settings["data"]["streams"]["weather"]["path"] = "wether.csv"


def missing_column(frames: Frames, settings: Settings) -> None:
    settings["data"]["streams"]["load"]["target"] = ["lod"]


def unknown_key(frames: Frames, settings: Settings) -> None:
    settings["data"]["streams"]["weather"]["dellay"] = "1h"


def text_in_numbers(frames: Frames, settings: Settings) -> None:
    frames["weather"] = frames["weather"].astype({"wind": object})
    frames["weather"].loc[4, "wind"] = "calm"


def duplicate_times(frames: Frames, settings: Settings) -> None:
    frames["load"] = pd.concat([frames["load"], frames["load"].iloc[[3]]])


def item_without_target(frames: Frames, settings: Settings) -> None:
    load = frames["load"]
    load.loc[load["item"] == "south", "load"] = None


def target_without_value(frames: Frames, settings: Settings) -> None:
    frames["load"]["load"] = None


def split_without_window(frames: Frames, settings: Settings) -> None:
    settings["data"]["split"] = {"validation": "2024-01-16T20:00", "test": "2024-01-16T22:00"}


def split_outside_the_data(frames: Frames, settings: Settings) -> None:
    settings["data"]["split"] = {"validation": "2025-01-01", "test": "2025-02-01"}


def unknown_layer(frames: Frames, settings: Settings) -> None:
    settings["model"]["interactions"][0]["from"] = "load.9"


def cycle(frames: Frames, settings: Settings) -> None:
    settings["model"]["interactions"][0] |= {"from": "load.3", "to": "load.1"}


def horizon_off_the_grid(frames: Frames, settings: Settings) -> None:
    settings["data"]["horizon"] = "90min"


def mixed_time_zones(frames: Frames, settings: Settings) -> None:
    frames["news"]["time"] = frames["news"]["time"].dt.tz_localize("UTC")


def no_such_item(frames: Frames, settings: Settings) -> None:
    settings["data"]["exclude_items"] = ["soutth", "north"]


def empty_file(frames: Frames, settings: Settings) -> None:
    frames["news"] = pd.DataFrame()


FAULTS: list[tuple[Callable[[Frames, Settings], None], list[str]]] = [
    (missing_file, ["wether.csv: no such file", "did you mean 'weather.csv'"]),
    (missing_column, ["load.csv: no column 'lod'", "did you mean 'load'"]),
    (unknown_key, ["data.streams.weather.dellay: unknown key", "did you mean 'delay'"]),
    (text_in_numbers, ["weather.csv, row 6, column 'wind': 'calm' is not a number"]),
    (duplicate_times, ["load.csv, rows 5 and 770", "duplicates: mean"]),
    (item_without_target, ["column 'load': item 'south' has no value", "exclude_items"]),
    (target_without_value, ["column 'load': the target has no value at all"]),
    (split_without_window, ["no window of the validation split", "Move the cuts"]),
    (split_outside_the_data, ["do not follow each other inside the data"]),
    (unknown_layer, ["edge 'residual_load.9_to_load.3'", "load.9 does not exist"]),
    (cycle, ["its own result", "load.1 -> load.2 -> load.3"]),
    (horizon_off_the_grid, ["data.horizon: 90min is no whole number of steps of 1h"]),
    (mixed_time_zones, ["have no UTC offset, while those of other streams do"]),
    (no_such_item, ["no stream has item 'soutth'; did you mean 'south'? Take it out"]),
    (empty_file, ["news.csv: the file is empty"]),
]


@pytest.mark.parametrize(("spoil", "words"), FAULTS, ids=[spoil.__name__ for spoil, _ in FAULTS])
def test_training_refuses(
    mmts: Command,
    tmp_path: Path,
    spoil: Callable[[Frames, Settings], None],
    words: list[str],
) -> None:
    frames, settings = make_frames(), make_settings()
    spoil(frames, settings)
    write_frames(tmp_path, frames)
    if frames["news"].empty:
        (tmp_path / "news.csv").write_text("")
    config = write_config(tmp_path, settings)
    before = snapshot(tmp_path)
    assert_refused(mmts("train", config, "--run-dir", tmp_path / "run"), *words)
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "run").exists()


def test_training_refuses_a_folder_that_holds_a_run(mmts: Command, trained: Path) -> None:
    before = snapshot(trained.parent)
    config = trained.parent.parent / "world" / "config.yaml"
    assert_refused(mmts("train", config, "--run-dir", trained.parent), "holds files already")
    assert snapshot(trained.parent) == before


@pytest.mark.parametrize("command", ["forecast", "evaluate"])
def test_what_is_no_checkpoint_is_refused(mmts: Command, tmp_path: Path, command: str) -> None:
    fake = tmp_path / "best.mmts"
    fake.write_text("not a checkpoint")
    output = tmp_path / "kept.csv"
    output.write_text("precious")
    options = ["--output", output] if command == "forecast" else []
    assert_refused(mmts(command, fake, *options), "not a checkpoint of mmts")
    assert snapshot(tmp_path) == {"best.mmts": b"not a checkpoint", "kept.csv": b"precious"}


def test_forecast_shows_columns_that_differ_from_training(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    frames = make_frames()
    frames["weather"] = frames["weather"].rename(columns={"wind": "windspeed"})
    write_frames(tmp_path, {"weather": frames["weather"]})
    output = tmp_path / "kept.csv"
    output.write_text("precious")
    done = mmts("forecast", trained, "--output", output, f"--data=weather={tmp_path}/weather.csv")
    assert_refused(done, "- wind", "+ windspeed", "did you mean 'wind'")
    assert output.read_text() == "precious"


def test_forecast_says_that_settings_of_a_stream_are_those_of_training(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    frames = make_frames()
    weather = frames["weather"].astype({"wind": object})
    weather.loc[4, "wind"] = "n/a"
    write_frames(tmp_path, {"weather": weather})
    output = ("--output", tmp_path / "forecast.csv")
    done = mmts("forecast", trained, *output, f"--data=weather={tmp_path}/weather.csv")
    assert_refused(done, "add 'n/a' to missing_values of the stream", "those of its training")
    assert not (tmp_path / "forecast.csv").exists()


def test_a_forecast_is_not_called_what_it_is_not(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    done = mmts("forecast", trained, "--output", tmp_path / "forecast.xlsx")
    assert_refused(done, "what is written is CSV", "Name it forecast.csv")
    assert not snapshot(tmp_path)


def test_a_folder_of_a_run_is_no_checkpoint(mmts: Command, trained: Path) -> None:
    done = mmts("evaluate", trained.parent)
    assert_refused(done, f"is a folder. Give a file in it, such as {trained}")


def test_forecast_refuses_a_place_that_cannot_be_written_before_any_work(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    done = mmts("forecast", trained, "--output", tmp_path / "nowhere" / "forecast.csv")
    assert_refused(done, "there is no folder")


def test_forecast_never_overwrites_what_it_reads(mmts: Command, trained: Path) -> None:
    before = trained.read_bytes()
    assert_refused(mmts("forecast", trained, "--output", trained), "read or written by this")
    assert trained.read_bytes() == before


@pytest.mark.parametrize("content", ["[" * 100_000, "{", '{"epoch": 1e999}', "[]"])
def test_an_evaluation_that_is_damaged_costs_an_explanation_no_more_than_its_report(
    forecaster: Forecaster,
    dataset: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: str,
) -> None:
    evaluation = tmp_path / "evaluation" / "evaluation.json"
    evaluation.parent.mkdir()
    evaluation.write_text(content)
    explained = tmp_path / "explanation"
    assert _renew_report(forecaster, dataset, tmp_path / "best.mmts", explained) is None
    assert "the report of the evaluation is not renewed" in caplog.text
    assert "Evaluate again" in caplog.text


def test_forecast_draws_no_rolling_forecasts(mmts: Command, trained: Path, tmp_path: Path) -> None:
    rolling = ["--origin", "2024-01-10", "--until", "2024-01-11"]
    output = ["--output", tmp_path / "forecast.csv", "--plot", tmp_path / "forecast.png"]
    assert_refused(mmts("forecast", trained, *output, *rolling), "Leave out --until, or --plot")
    assert not snapshot(tmp_path)


def test_a_missing_config_is_told(mmts: Command, tmp_path: Path) -> None:
    assert_refused(mmts("train", tmp_path / "nothing.yaml"), "nothing.yaml: no such file")
