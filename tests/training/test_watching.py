"""Numbers that go wrong: what ends a training at once, and what is handled by rule."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mmts.checkpoint import read_info
from mmts.config import load_config
from mmts.data.dataset import load_dataset
from mmts.errors import TrainingError
from mmts.experiment import TrainingResult, resume, train
from mmts.forecasting import Forecaster
from mmts.model import MultimodalForecaster
from mmts.training import keeping
from mmts.training.module import ForecastingModule
from mmts.training.state import read_state
from mmts.training.watching import NumberWatch, find_extreme
from tests.conftest import Command
from tests.factories import make_frames, make_settings, write_config, write_frames

Frames = dict[str, pd.DataFrame]


def write(folder: Path, change: Callable[[Frames], object], **data: Any) -> Path:
    """Write a small world in which one thing is odd; data: keys of `data` in its config."""
    frames, settings = make_frames(), make_settings()
    change(frames)
    settings["data"] |= data
    write_frames(folder, frames)
    return write_config(folder, settings)


def put(stream: str, column: str, row: int, value: float) -> Callable[[Frames], object]:
    """Return what puts one number into a stream."""
    return lambda frames: frames[stream].__setitem__(
        column, frames[stream][column].where(frames[stream].index != row, value)
    )


def leave(frames: Frames) -> None:
    """Change nothing."""


def poison(monkeypatch: pytest.MonkeyPatch, call: int, value: float) -> None:
    """Let what the model says in one call, counted from 1, be no number."""
    forward, calls = MultimodalForecaster.forward, [0]

    def spoilt(self: MultimodalForecaster, batch: Any) -> torch.Tensor:
        if self.training:
            calls[0] += 1
        said: torch.Tensor = forward(self, batch)
        return said * value if self.training and calls[0] == call else said

    monkeypatch.setattr(MultimodalForecaster, "forward", spoilt)


def test_a_learning_rate_that_is_too_high_ends_at_the_step_and_is_named(
    mmts: Command, tmp_path: Path
) -> None:
    config = write(tmp_path / "world", leave)
    done = mmts("train", config, "--set", "training.learning_rate=1e30", cwd=tmp_path)
    assert done.returncode == 2
    assert "TrainingError: the loss is nan in step 2, of epoch 1." in done.stderr
    assert "What was read is ordinary (at most" in done.stderr
    assert "lower training.learning_rate, which is 1e+30." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_step_that_fails_is_told_with_its_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    config = load_config(
        write(tmp_path, leave), ["training.max_epochs=3", "training.steps_per_epoch=4"]
    )
    poison(monkeypatch, call=7, value=value)
    with pytest.raises(TrainingError, match=rf"^the loss is {value} in step 7, of epoch 2\."):
        train(config, tmp_path / "run")
    # What was kept of the epoch before is whole.
    for name in ("best.mmts", "last.mmts"):
        assert np.isfinite(read_info(tmp_path / "run" / name).validation_loss)
    lines = (tmp_path / "run/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


def test_where_a_training_failed_is_not_kept_as_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["training.max_epochs=1", "training.steps_per_epoch=64", "training.batch_size=8"]
    config = load_config(write(tmp_path, leave), [*overrides, "training.keep_state_every=0s"])
    # However long it takes to write.
    monkeypatch.setattr(keeping, "_LONGEST_PART", np.inf)
    # As on a GPU, where not every round is waited for.
    monkeypatch.setattr(NumberWatch, "on_train_batch_end", lambda *_: None)
    with monkeypatch.context() as patch:
        poison(patch, call=40, value=np.nan)
        with pytest.raises(TrainingError, match="the loss is nan in step 40"):
            train(config, tmp_path / "run")
    kept = read_state(tmp_path / "run")
    assert 0 < kept.state.num_steps < 40
    assert not any(tensor.isnan().any() for tensor in kept.tensors.values())
    assert np.isfinite(resume(tmp_path / "run").best_loss)


def test_a_gradient_that_is_no_number_ends_the_training_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backward(self: ForecastingModule, loss: torch.Tensor) -> None:
        loss.backward()
        if self.num_steps == 2:
            weight = next(p for p in self.model.parameters() if p.grad is not None)
            assert weight.grad is not None
            weight.grad.fill_(torch.nan)

    monkeypatch.setattr(ForecastingModule, "manual_backward", backward)
    overrides = ["training.steps_per_epoch=5", "training.gradient_clip=null"]
    config = load_config(write(tmp_path, leave), overrides)
    with pytest.raises(
        TrainingError, match=r"^the gradient is nan in step 3, of epoch 1\."
    ) as told:
        train(config, tmp_path / "run")
    assert "and set training.gradient_clip" in str(told.value)


def test_what_was_read_far_out_is_named_with_item_and_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After the train cut, so that it is not part of the scale: every batch of validation reads it.
    frames = make_frames()
    late = frames["weather"].index[frames["weather"]["time"] == pd.Timestamp("2024-01-13")][1]
    config = load_config(write(tmp_path, put("weather", "wind", late, 1e9)))
    dataset = load_dataset(config.data)
    windows = dataset.windows("validation")
    extreme = find_extreme(windows, torch.arange(len(windows)), dataset.schema)
    assert extreme[:3] == (extreme.distance, "weather", "wind")
    assert extreme.distance > 1e7
    origin = pd.Timestamp(int(windows.windows.origins[extreme.window]), unit="us")
    read = pd.Timedelta("18h")
    assert (
        pd.Timestamp("2024-01-13")
        < origin
        <= pd.Timestamp("2024-01-13") + read + pd.Timedelta("5h")
    )

    monkeypatch.setattr(
        ForecastingModule, "on_validation_epoch_end",
        lambda self: setattr(self, "validation_loss", float("inf")),
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"^the validation loss is inf after epoch 0\.") as told:
        train(config, tmp_path / "run")
    message = str(told.value)
    assert "column 'wind' of stream weather, item 'south', near the origin 2024-01-13" in message
    assert "add it to missing_values" in message
    assert not (tmp_path / "run/best.mmts").exists()


def test_codes_of_categories_are_never_far_out(tmp_path: Path) -> None:
    dataset = load_dataset(load_config(write(tmp_path, leave)).data)
    windows = dataset.windows("train")
    assert find_extreme(windows, torch.arange(64), dataset.schema).column not in ("shift", "region")


def test_all_spreads_that_overflow_are_told_at_once(mmts: Command, tmp_path: Path) -> None:
    def overflow(frames: Frames) -> None:
        put("weather", "wind", 20, 1e200)(frames)
        put("weather", "temperature", 21, -1e300)(frames)

    config = write(tmp_path / "world", overflow)
    done = mmts("train", config, cwd=tmp_path)
    assert done.returncode == 2
    assert "weather.csv, column 'wind': 1e+200 is too large" in done.stderr
    assert "weather.csv, column 'temperature': 1e+300 is too large" in done.stderr
    assert "Traceback" not in done.stderr


def forecast_of(result: TrainingResult, folder: Path) -> pd.DataFrame:
    """Return a forecast from the files of the world, which must be numbers."""
    sources: Any = {name: folder / f"{name}.csv" for name in make_frames()}
    forecast = Forecaster.from_checkpoint(result.checkpoint).predict(sources)
    assert np.isfinite(forecast[["0.1", "0.5", "0.9"]].to_numpy()).all()
    return forecast


@pytest.mark.parametrize(
    ("stream", "column", "value"),
    [
        ("weather", "wind", 3.0),
        ("weather", "wind", np.nan),
        ("plan", "planned", 0.0),
        ("site", "area", 1e9),
        ("load", "load", 5.0),
    ],
)
def test_a_column_that_never_varies_is_read_by_rule(
    tmp_path: Path, stream: str, column: str, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(
        write(tmp_path, lambda frames: frames[stream].__setitem__(column, value)),
        ["training.steps_per_epoch=2"],
    )
    with caplog.at_level(logging.WARNING):
        result = train(config, tmp_path / "run")
    forecast = forecast_of(result, tmp_path)
    assert ("has no value to train on" in caplog.text) == np.isnan(value)
    if column == "load":
        assert np.allclose(forecast[["0.1", "0.5", "0.9"]], value, atol=1e-3)


def test_one_item_and_one_window_in_each_split_are_enough(tmp_path: Path) -> None:
    # A train window needs 24 hours of context and 6 of horizon.
    begin = pd.Timestamp("2024-01-01")
    cuts = {"validation": begin + pd.Timedelta("30h"), "test": begin + pd.Timedelta("36h"),
            "end": begin + pd.Timedelta("42h")}  # fmt: skip

    def keep_one(frames: Frames) -> None:
        for name in frames:
            if "item" in frames[name]:
                frames[name] = frames[name][frames[name]["item"] == "north"]
        frames["load"]["load"] = frames["load"]["load"].fillna(50.0)

    config = load_config(write(tmp_path, keep_one, split={k: str(v) for k, v in cuts.items()}))
    dataset = load_dataset(config.data)
    assert [len(dataset.windows(split)) for split in ("train", "validation", "test")] == [1, 1, 1]
    assert len(dataset.items) == 1
    result = train(config, tmp_path / "run")
    assert np.isfinite(result.best_loss)
    assert len(forecast_of(result, tmp_path)) == 6
