"""A backtest with refit: a model that has seen nothing of what it forecasts, and is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mmts.backtest.cutoffs import choose_cutoffs
from mmts.backtest.refit import FOLDER, Refits
from mmts.backtest.report import Backtest
from mmts.backtest.run import backtest_refitted
from mmts.checkpoint import CheckpointInfo, read_info
from mmts.errors import DataError, OutputError
from mmts.evaluation import BASELINES, MODEL, load_evaluation_data
from mmts.forecasting import Forecaster
from tests.backtest.worlds import LAST, opened, overwrite_unknown, tiny_settings, train_tiny
from tests.factories import make_frames, write_frames

HOUR = 3_600_000_000


def refitted(
    checkpoint: Path,
    folder: Path,
    root: Path | None = None,
    num_windows: int = 1,
    step: int | None = None,
) -> Backtest:
    forecaster = Forecaster.from_checkpoint(checkpoint)
    dataset = load_evaluation_data(forecaster.info, root)
    cutoffs = choose_cutoffs(dataset, "test", num_windows, step, is_refit=True)
    return backtest_refitted(forecaster, dataset, cutoffs, "test", folder, folder, root)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).iterdir())


def weights_of(place: Path) -> dict[str, torch.Tensor]:
    return load_file(place / "best.mmts")


def is_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def learned(info: CheckpointInfo) -> Any:
    return info.scaling, info.data_schema, info.config.model, info.validation_loss, info.epoch


@pytest.fixture(scope="module")
def true_run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Backtest]:
    folder = tmp_path_factory.mktemp("true")
    return folder, refitted(tiny, folder, num_windows=2, step=18)


class TestNothingAfterTheCutoff:
    def test_moves_a_weight_a_scale_or_a_choice(
        self, tiny: Path, true_run: tuple[Path, Backtest], tmp_path: Path
    ) -> None:
        # Everything, what was planned included: a training before the cut-off has no use for it.
        noisy = overwrite_unknown(make_frames(), LAST, keep_plan=False)
        write_frames(tmp_path / "noisy", noisy)
        refitted(tiny, tmp_path / "out", tmp_path / "noisy")
        true, ours = kept(true_run[0])[-1], kept(tmp_path / "out")[-1]
        assert true.name == ours.name
        assert is_same(weights_of(true), weights_of(ours))
        assert learned(read_info(true / "best.mmts")) == learned(read_info(ours / "best.mmts"))

    def test_moves_a_forecast_of_any_method(
        self, tiny: Path, true_run: tuple[Path, Backtest], tmp_path: Path
    ) -> None:
        write_frames(tmp_path / "noisy", overwrite_unknown(make_frames(), LAST))
        table = refitted(tiny, tmp_path / "out", tmp_path / "noisy").forecasts
        true = true_run[1].forecasts
        true = true[true["cutoff"] == str(LAST)].reset_index(drop=True)
        assert not true["actual"].equals(table["actual"])
        pd.testing.assert_frame_equal(
            true.drop(columns="actual"), table.drop(columns="actual"), check_exact=True
        )

    def test_is_all_that_does_not(
        self, tiny: Path, true_run: tuple[Path, Backtest], tmp_path: Path
    ) -> None:
        # One hour earlier, and the last row that was known is another.
        noisy = overwrite_unknown(make_frames(), LAST - pd.Timedelta(hours=1))
        write_frames(tmp_path / "noisy", noisy)
        refitted(tiny, tmp_path / "out", tmp_path / "noisy")
        true, ours = (read_info(kept(f)[-1] / "best.mmts") for f in (true_run[0], tmp_path / "out"))
        assert true.validation_loss != ours.validation_loss


def test_cuts_lie_before_each_cutoff_and_validation_keeps_its_length(
    tiny: Path, true_run: tuple[Path, Backtest]
) -> None:
    own = read_info(tiny).split
    splits = [read_info(place / "best.mmts").split for place in kept(true_run[0])]
    assert [split.test for split in splits] == [own.end - 24 * HOUR, own.end - 6 * HOUR]
    for split in splits:
        assert split.test - split.validation == own.test - own.validation
        assert (split.begin, split.end) == (own.begin, own.end)


def test_each_cutoff_has_scales_and_baselines_of_its_own(
    tiny: Path, true_run: tuple[Path, Backtest]
) -> None:
    found = true_run[1]
    first, last = found.cutoffs
    assert first.num_train_windows < last.num_train_windows
    for cutoff, place in zip(found.cutoffs, kept(true_run[0]), strict=True):
        table = found.forecasts[found.forecasts["cutoff"] == cutoff.cutoff]
        frame = make_frames()["load"]
        cut = pd.Timestamp(read_info(place / "best.mmts").split.validation, unit="us")
        for method in (MODEL, *BASELINES):
            rows = table[table["method"] == method]
            scaled = []
            for item, of_item in rows.groupby("item_id"):
                known = frame[(frame["item"] == item) & (frame["time"] < cut)]["load"]
                scale = known.diff(cutoff.season).abs().mean()
                scaled.append((of_item["forecast"] - of_item["actual"]).abs() / scale)
            assert cutoff.scores[method]["load"].mase == pytest.approx(
                pd.concat(scaled).mean(), rel=1e-4
            )


def test_what_is_trained_is_not_trained_again(
    tiny: Path, true_run: tuple[Path, Backtest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("mmts.backtest.refit.train", fail)
    again = refitted(tiny, true_run[0], num_windows=2, step=18)
    pd.testing.assert_frame_equal(again.forecasts, true_run[1].forecasts, check_exact=True)


def test_a_training_that_was_broken_off_is_done_again(tiny: Path, tmp_path: Path) -> None:
    forecaster, dataset = opened(tiny)
    moment = choose_cutoffs(dataset, "test", 1, is_refit=True).moments[0]
    place = Refits(forecaster.info, dataset, tmp_path, tmp_path).place(moment)
    partial = place.with_name(place.name + ".partial")
    partial.mkdir(parents=True)
    (partial / "best.mmts").write_text("torn")
    refitted(tiny, tmp_path)
    assert [found.name for found in kept(tmp_path)] == [place.name]


def test_models_of_other_data_are_never_taken_for_ours(
    tiny: Path, true_run: tuple[Path, Backtest], tmp_path: Path
) -> None:
    frames = make_frames()
    frames["load"]["load"] += 1
    write_frames(tmp_path, frames)
    before = weights_of(kept(true_run[0])[-1])
    with pytest.raises(OutputError, match="another config, data or cut") as error:
        refitted(tiny, true_run[0], tmp_path, num_windows=2, step=18)
    assert len(str(error.value).splitlines()) == 2
    assert is_same(before, weights_of(kept(true_run[0])[-1]))


def test_the_linear_path_is_chosen_anew(tiny: Path) -> None:
    forecaster, dataset = opened(tiny)
    chosen = forecaster.info.config.model.linear
    assert chosen is not None
    assert "auto" not in chosen.model_dump().values()
    refits = Refits(forecaster.info, dataset, Path(), Path())
    config = refits.config_before(dataset.split.test)
    assert config.model.linear is not None
    assert set(config.model.linear.model_dump(exclude={"calendar"}).values()) == {"auto"}
    assert config.model.linear.calendar == chosen.calendar


def test_a_cutoff_without_anything_to_validate_on_is_refused(tmp_path: Path) -> None:
    frames = make_frames()
    settings = tiny_settings()
    settings["data"]["split"] = {"validation": "2024-01-12", "test": "2024-01-14"}
    checkpoint = train_tiny(tmp_path / "made", frames, settings)
    silent = frames["load"]["time"].between("2024-01-09 00:00", "2024-01-11 11:00")
    frames["load"].loc[silent, "load"] = float("nan")
    write_frames(tmp_path / "silent", frames)
    with pytest.raises(DataError, match="no window to validate on"):
        refitted(checkpoint, tmp_path / "out", tmp_path / "silent", num_windows=2, step=126)
    assert not (tmp_path / "out").exists()


def test_times_in_a_zone_are_cut_where_they_should(tmp_path: Path) -> None:
    frames = make_frames()
    for name in ("load", "weather", "plan"):
        frames[name]["time"] = frames[name]["time"].dt.tz_localize("UTC")
    settings = tiny_settings()
    settings["data"]["time_zone"] = "Asia/Kolkata"
    checkpoint = train_tiny(tmp_path, frames, settings)
    found = refitted(checkpoint, tmp_path / "out")
    info = read_info(kept(tmp_path / "out")[0] / "best.mmts")
    assert info.split.test == read_info(checkpoint).split.end - 6 * HOUR
    assert found.cutoffs[0].cutoff.endswith("+05:30")


def test_notes_say_what_a_refit_cannot_undo(true_run: tuple[Path, Backtest]) -> None:
    assert any("stay chosen" in note for note in true_run[1].notes)


def test_the_record_of_a_refit_is_readable(true_run: tuple[Path, Backtest]) -> None:
    record = json.loads((kept(true_run[0])[0] / "refit.json").read_text())
    assert set(record) == {"config", "data"}
    assert "root" not in record["config"]["data"]
