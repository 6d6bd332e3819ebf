"""What a linear path reads, how far back, and in which units: chosen where it pays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mmts.config import load_config
from mmts.data.config import DataConfig
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.gathering import WindowGatherer
from mmts.evaluation.ablation import leave_out
from mmts.evaluation.rolling import forecast_windows
from mmts.experiment import train
from mmts.forecasting import Forecaster
from mmts.linear import fitting, map_fitting, sample
from mmts.linear.errors import WindowErrors
from mmts.linear.features import WindowFeatures
from mmts.linear.fitted import LinearFit
from mmts.linear.fitting import fit_linear
from mmts.linear.path import LinearConfig, LinearPath
from mmts.training.linear_start import start_model
from tests.factories import START, write_world


def make_dataset(
    folder: Path, target: np.ndarray, driver: np.ndarray, said: np.ndarray | None = None
) -> Dataset:
    """Make an hourly target, a driver known ahead, and a word beside each hour if there are any."""
    times = pd.date_range(START, periods=len(target), freq="h")
    pd.DataFrame({"time": times, "y": target}).to_csv(folder / "y.csv", index=False)
    pd.DataFrame({"time": times, "x": driver}).to_csv(folder / "x.csv", index=False)
    shared = {"time": "time", "context_length": 24}
    settings: dict[str, Any] = {
        "root": str(folder),
        "horizon": 6,
        "split": {"validation": 0.6, "test": 0.8},
        "streams": {
            "target": {"path": "y.csv", "target": ["y"], **shared},
            "driver": {"path": "x.csv", "future": ["x"], **shared},
        },
    }
    if said is not None:
        pd.DataFrame({"time": times, "said": said}).to_csv(folder / "words.csv", index=False)
        features = {"kind": "tfidf", "dim": 1}
        words = {"path": "words.csv", "text": ["said"], "text_features": features, **shared}
        settings["streams"]["words"] = words
    return load_dataset(DataConfig.model_validate(settings))


def fit(dataset: Dataset, is_robust: bool = False, **settings: Any) -> LinearFit:
    return fit_linear(
        dataset.windows("train"),
        dataset.windows("validation"),
        dataset.category_sizes,
        LinearConfig(**settings),
        is_robust,
    )


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


class TestWhatIsRead:
    def test_a_driver_that_drives_is_read(self, tmp_path: Path) -> None:
        driver = noise(2000)
        found = fit(make_dataset(tmp_path, 2 * driver + 0.1 * noise(2000, 1), driver))
        assert found.config.reads == "all"

    def test_a_driver_that_does_nothing_is_left(self, tmp_path: Path) -> None:
        hours = np.arange(2000)
        target = np.sin(2 * np.pi * hours / 24) + 0.3 * noise(2000, 1)
        assert fit(make_dataset(tmp_path, target, noise(2000))).config.reads == "own"

    def test_outliers_count_less_where_that_makes_errors_smaller(self, tmp_path: Path) -> None:
        driver, target = noise(2000), 2 * noise(2000) + 0.1 * noise(2000, 1)
        target[np.random.default_rng(2).random(2000) < 0.05] += 100
        dataset = make_dataset(tmp_path, target, driver)
        found = fit(dataset, is_robust=True, reads="all", recent=1.0, units="train")
        plain = fit(dataset, is_robust=True, loss="squares", reads="all", recent=1.0, units="train")
        assert found.config.loss == "huber"
        assert plain.config.loss == "squares"
        # A head that forecasts the mean is asked for the mean.
        assert fit(dataset, is_robust=False, reads="own").config.loss == "squares"

    @pytest.mark.parametrize(
        ("name", "better"),
        [("loss", "squares"), ("loss", "huber"), ("contexts", "whole"), ("contexts", "both")],
    )
    def test_of_choices_alike_the_better_one_is_taken_be_it_by_a_hair(
        self, name: str, better: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried = fitting._Search._try

        def with_errors(search: Any, choice: Any) -> Any:
            found = tried(search, choice)
            size = torch.full_like(found.errors.sizes, 1.0 if choice[name] == better else 1.001)
            return replace(found, errors=WindowErrors(size, size.square()))

        monkeypatch.setattr(fitting._Search, "_try", with_errors)
        dataset = make_dataset(tmp_path, noise(800), noise(800, 1))
        found = fit(dataset, is_robust=True, level="last", reads="own", recent=1.0, units="train")
        assert getattr(found.config, name) == better

    def test_two_contexts_make_the_mean_of_two_maps(self, tmp_path: Path) -> None:
        dataset = make_dataset(tmp_path, noise(800).cumsum() + noise(800, 1), noise(800, 2))
        told = {"loss": "squares", "level": "last", "reads": "own", "recent": 1.0}
        whole = fit(dataset, contexts="whole", **told).maps["train"]
        found = fit(dataset, contexts="both", **told)
        both = found.maps["train"]
        quarter = 2 * both.own - whole.own
        torch.testing.assert_close(quarter[:18], torch.zeros(18, 6))
        # Of the last step, to which all are relative, nothing is left to read.
        assert (quarter[18:-1].abs().amax(dim=1) > 0).all()
        assert not torch.equal(both.intercepts, whole.intercepts)
        assert {"own_train", "quarter_train"} <= set(found.choices()["penalties"])

    def test_where_all_streams_are_read_no_mean_of_contexts_is_tried(self, tmp_path: Path) -> None:
        driver = noise(800)
        dataset = make_dataset(tmp_path, 2 * driver + 0.1 * noise(800, 1), driver)
        assert fit(dataset, reads="all").config.contexts == "whole"
        told = fit(dataset, contexts="both", units="train")
        assert told.config.reads == "all"
        # What is told leaves all other choices open.
        jumps = np.where(np.arange(800) < 280, -2.0, 2.0)
        turned = make_dataset(tmp_path, jumps * driver + 0.1 * noise(800, 1), driver)
        assert fit(turned, contexts="both", reads="all").config.recent < 1
        assert set(told.choices()["penalties"]) == {"own_train", "quarter_train", "every_train"}

    def test_what_is_told_is_done(self, tmp_path: Path) -> None:
        driver = noise(800)
        dataset = make_dataset(tmp_path, driver, driver)
        told = {
            "level": "mean",
            "reads": "own",
            "recent": 0.5,
            "units": "both",
            "calendar": "all",
            "loss": "huber",
            "contexts": "both",
            "bands": "window",
        }
        assert fit(dataset, **told).config == LinearConfig(**told)
        assert set(fit(dataset, **told).maps) == {"train", "window"}

    @pytest.mark.parametrize(("effect", "reads"), [(0.0, "without_texts"), (2.0, "all")])
    def test_texts_are_read_where_they_tell_what_numbers_do_not(
        self, effect: float, reads: str, tmp_path: Path
    ) -> None:
        driver, is_up = noise(800), noise(800, 2) > 0
        # What is said is known an hour later, and comes true after eight.
        target = 2 * driver + effect * np.roll(is_up, 8) + 0.1 * noise(800, 1)
        dataset = make_dataset(tmp_path, target, driver, np.where(is_up, "rising", "falling"))
        found = fit(dataset)
        assert found.config.reads == reads
        path = LinearPath(dataset.schema, dataset.category_sizes, found.config, 0)
        found.write_into(path, ())
        batch = dataset.windows("test").gather(torch.arange(40))
        missed = path.point(batch.streams) - batch.target
        assert missed.abs().mean() < 0.1

    def test_of_maps_too_large_the_one_without_texts_is_tried(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        driver, said = noise(800), np.where(noise(800, 2) > 0, "rising", "falling")
        dataset = make_dataset(tmp_path, 2 * driver + 0.1 * noise(800, 1), driver, said)
        counts = [
            WindowFeatures(dataset.schema, dataset.category_sizes, with_texts=are_read).num_features
            for are_read in (False, True)
        ]
        assert counts[0] < counts[1]
        monkeypatch.setattr(fitting, "MAX_WEIGHTS", 6 * counts[0])
        caplog.set_level("INFO")
        assert fit(dataset).config.reads == "without_texts"
        assert "too large; at most it reads all streams but for their texts" in caplog.text

    def test_a_map_too_large_is_not_tried(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver = noise(800)
        dataset = make_dataset(tmp_path, driver, driver)
        monkeypatch.setattr(fitting, "MAX_WEIGHTS", 10)
        assert fit(dataset).config.reads == "own"
        assert fit(dataset, reads="all").config.reads == "all"


def test_old_windows_are_left_out_where_the_world_has_changed(tmp_path: Path) -> None:
    driver, count = noise(4000), 4000
    turn = np.where(np.arange(count) < 1400, -2.0, 2.0)
    changed = make_dataset(tmp_path, turn * driver + 0.1 * noise(count, 1), driver)
    assert fit(changed, reads="all").config.recent < 1
    same = make_dataset(tmp_path, 2 * driver + 0.1 * noise(count, 1), driver)
    assert fit(same, reads="all").config.recent == 1


def test_units_of_the_window_are_taken_where_a_driver_moves_a_share_of_the_swing(
    tmp_path: Path,
) -> None:
    driver, count = noise(5000), 5000
    swing = np.exp(1.5 * np.sin(2 * np.pi * np.arange(count) / 900))
    apart = make_dataset(tmp_path, swing * driver + 0.01 * noise(count, 1), driver)
    assert fit(apart, reads="all", recent=1.0).config.units == "both"
    alike = make_dataset(tmp_path, 2 * driver + 0.5 * noise(count, 1), driver)
    assert fit(alike, reads="all", recent=1.0).config.units == "train"


def test_of_many_windows_some_are_fitted_from_all_hours_of_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = noise(2000)
    dataset = make_dataset(tmp_path, 2 * driver + 0.1 * noise(2000, 1), driver)
    whole = fit(dataset, reads="all", recent=1.0, units="train")
    monkeypatch.setattr(map_fitting, "MAX_NUMBERS", 200 * 60)
    some = fit(dataset, reads="all", recent=1.0, units="train")
    assert not torch.equal(whole.maps["train"].own, some.maps["train"].own)
    chosen = sample.choose_spread(4800, 200)
    assert len(chosen) == 200
    assert torch.equal(chosen // 24, torch.arange(200))
    assert len((chosen % 24).unique()) > 20
    assert torch.equal(chosen, sample.choose_spread(4800, 200))
    assert torch.equal(sample.choose_spread(7, 10), torch.arange(7))
    assert int(sample.choose_spread(13, 5)[-1]) == 12


@pytest.mark.parametrize("num_columns", [1, 8])
def test_bands_hold_what_they_say_where_rows_are_few(tmp_path: Path, num_columns: int) -> None:
    plan = np.stack([noise(700, seed) for seed in range(num_columns)])
    times = pd.date_range(START, periods=700, freq="h")
    pd.DataFrame({"time": times, "y": plan.sum(axis=0) + noise(700, 99)}).to_csv(
        tmp_path / "y.csv", index=False
    )
    names = [f"x{place}" for place in range(num_columns)]
    table = pd.DataFrame(plan.T, columns=names)
    table.insert(0, "time", times)
    table.to_csv(tmp_path / "x.csv", index=False)
    shared = {"time": "time", "context_length": 24}
    streams = {
        "target": {"path": "y.csv", "target": ["y"], **shared},
        "plan": {"path": "x.csv", "future": names, **shared},
    }
    dataset = load_dataset(
        DataConfig.model_validate(
            {"root": str(tmp_path), "horizon": 6, "streams": streams,
             "split": {"validation": 0.6, "test": 0.8}}
        )
    )  # fmt: skip
    found = fit(dataset, is_robust=True, reads="all")
    assert share_within(found, dataset) == pytest.approx(0.8, abs=0.09)


def test_bands_are_as_wide_as_the_past_where_that_tells(tmp_path: Path) -> None:
    # Calm weeks and wild ones, as prices have them.
    wildness = np.repeat(np.exp(noise(18, 7)), 168)
    dataset = make_dataset(tmp_path, wildness * noise(18 * 168), noise(18 * 168, 1))
    told = {"level": "zero", "reads": "own", "recent": 1.0, "units": "train"}
    found = fit(dataset, is_robust=True, **told)
    assert found.config.bands == "window"
    assert share_within(found, dataset) == pytest.approx(0.8, abs=0.05)
    calm = make_dataset(tmp_path, noise(3000), noise(3000, 1))
    assert fit(calm, is_robust=True, **told).config.bands == "train"
    # Without quantiles there are no bands.
    assert fit(dataset, **told).config.bands == "train"


@pytest.mark.parametrize("role", ["past", "future"])
def test_a_stream_that_is_missing_or_late_changes_little(tmp_path: Path, role: str) -> None:
    hours = pd.date_range(START, periods=1600, freq="h")
    random = np.random.default_rng(0)
    days = np.arange(1600) // 24
    wind, shut = random.normal(size=70), random.random(70) < 0.05
    daily = np.sin(2 * np.pi * np.arange(1600) / 24)
    load = 50 + 5 * daily - 3 * shut[days] + 0.1 * wind[days] + random.normal(0, 0.5, 1600)
    pd.DataFrame({"time": hours, "y": load}).to_csv(tmp_path / "y.csv", index=False)
    plan = pd.DataFrame({"time": pd.date_range(START, periods=70), "wind": wind})
    plan["shut"] = np.where(shut, "shut", "open")
    # What is not told in the first days is told ever after.
    plan.iloc[1:].to_csv(tmp_path / "x.csv", index=False)
    streams = {
        "load": {"path": "y.csv", "time": "time", "target": ["y"], "context_length": 48},
        "plan": {
            "path": "x.csv", "time": "time", role: ["wind", "shut"], "category": ["shut"],
            "context_length": 4,
        },
    }  # fmt: skip
    dataset = load_dataset(
        DataConfig.model_validate(
            {"root": str(tmp_path), "horizon": 24, "streams": streams,
             "split": {"validation": 0.6, "test": 0.8}}
        )
    )  # fmt: skip
    found = fit(dataset, is_robust=True, reads="all")
    path = LinearPath(dataset.schema, dataset.category_sizes, found.config, 0)
    found.write_into(path, ())

    def error(windows: WindowGatherer) -> float:
        batch = windows.gather(torch.arange(len(windows)))
        return float((path.point(batch.streams) - batch.target).abs().mean())

    whole = error(dataset.windows("test"))
    assert error(leave_out(dataset, ["plan"]).windows("test")) < 1.5 * whole


def share_within(found: LinearFit, dataset: Dataset) -> float:
    """Return the share of test values between the quantiles .1 and .9."""
    path = LinearPath(dataset.schema, dataset.category_sizes, found.config, 2)
    found.write_into(path, ("0.1", "0.9"))
    windows = dataset.windows("test")
    batch = windows.gather(torch.arange(len(windows)))
    below, above = path(batch.streams).unbind(dim=-1)
    return float(((below <= batch.target) & (batch.target <= above)).float().mean())


def test_quantiles_begin_where_the_residuals_say(tmp_path: Path) -> None:
    target = noise(3000)
    dataset = make_dataset(tmp_path, target, noise(3000, 1))
    found = fit(dataset, is_robust=True, reads="own", recent=1.0, units="train")
    path = LinearPath(dataset.schema, dataset.category_sizes, found.config, 3)
    found.write_into(path, ("0.1", "0.5", "0.9"))
    windows = dataset.windows("test")
    batch = windows.gather(torch.arange(len(windows)))
    below = (batch.target[..., None] < path(batch.streams)).float().mean(dim=(0, 1, 2))
    torch.testing.assert_close(below, torch.tensor([0.1, 0.5, 0.9]), atol=0.04, rtol=0)
    found.write_into(path, ("mean", "mean", "mean"))


def test_training_begins_with_the_linear_path_and_never_ends_with_worse(tmp_path: Path) -> None:
    config = load_config(
        write_world(tmp_path / "world"),
        ["training.max_epochs=2", "training.learning_rate=0.5", "model.window_normalization=true"],
    )
    result = train(config, tmp_path / "run")
    # At such a rate nothing is learned: what training started from is what is kept.
    assert result.best_epoch == 0
    kept = Forecaster.from_checkpoint(result.checkpoint)
    assert kept.info.config.model.linear is not None
    assert "auto" not in dict(kept.info.config.model.linear).values()
    dataset = load_dataset(config.data)
    _, model = start_model(config, dataset)
    assert model.linear is not None
    windows = dataset.windows("test")
    with torch.inference_mode():
        said = model.linear(windows.gather(torch.arange(len(windows))).streams)
    found = forecast_windows(kept, windows).forecast
    np.testing.assert_allclose(found, kept.unscale(said.double().numpy()), rtol=1e-4, atol=1e-3)


def test_without_a_linear_path_there_is_none(tmp_path: Path) -> None:
    config = load_config(
        write_world(tmp_path / "world"), ["training.max_epochs=1", "model.linear=null"]
    )
    result = train(config, tmp_path / "run")
    assert result.best_epoch == 1
    assert Forecaster.from_checkpoint(result.checkpoint).model.linear is None
