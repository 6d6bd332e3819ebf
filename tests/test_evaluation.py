"""Evaluation: the right numbers, in the target's own units, and an honest verdict."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmts.checkpoint import CheckpointInfo, build_model, current_versions
from mmts.config import load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.source_files import fingerprint
from mmts.data.windows import count_origins
from mmts.errors import DataError
from mmts.evaluation import (
    ALL_TARGETS,
    BASELINES,
    MODEL,
    Evaluation,
    evaluate,
    load_evaluation_data,
)
from mmts.evaluation.report import Scores, TargetScores, WindowForecasts
from mmts.evaluation.scoring import Scorer
from mmts.forecasting import Forecaster
from tests.conftest import Command
from tests.factories import make_frames, make_settings, write_config, write_frames, write_world

METHODS = [MODEL, *BASELINES]


def make_forecaster(config_path: Path) -> tuple[Forecaster, Dataset]:
    """Make a forecaster that was never trained."""
    config = load_config(config_path)
    dataset = load_dataset(config.data)
    info = CheckpointInfo(
        config=config,
        data_schema=dataset.schema,
        scaling=dataset.scaling,
        split=dataset.split,
        fingerprint=fingerprint(config.data),
        versions=current_versions(),
        epoch=1,
        validation_loss=1.0,
    )
    model = build_model(config, dataset.schema, dataset.scaling)
    return Forecaster(info, model.eval()), dataset


def with_errors(evaluation: Evaluation, **errors: float) -> Evaluation:
    """Return the evaluation with other mean absolute errors, by method."""
    scores = {}
    for method in METHODS:
        found = Scores(errors[method.replace(" ", "_")], 1.0, 1.0, 1.0, math.nan, 1.0)
        scores[method] = dict.fromkeys(["load", ALL_TARGETS], TargetScores(found, (found,)))
    return replace(evaluation, scores=scores)


@pytest.fixture(scope="module")
def evaluation(forecaster: Forecaster, dataset: Dataset) -> Evaluation:
    return evaluate(forecaster, dataset)


def test_every_method_has_scores_overall_and_by_step(evaluation: Evaluation) -> None:
    table = evaluation.table()
    assert list(table.index) == METHODS
    assert list(table.columns) == ["mae", "rmse", "mase", "wql", "coverage", "crps_by_quantiles"]
    assert np.isfinite(table[["mae", "rmse", "mase", "wql"]]).all(axis=None)
    assert list(np.isfinite(table["coverage"])) == [True, False, False, False]
    by_step = evaluation.by_step_table()
    assert len(by_step) == len(METHODS) * 6
    assert set(by_step["step"]) == set(range(1, 7))


def test_scores_are_those_of_the_windows_in_own_units(
    evaluation: Evaluation, forecaster: Forecaster
) -> None:
    windows = evaluation.windows
    median = windows.forecast[..., forecaster.model.outputs.index("0.5")]
    missed = (median - windows.actual)[windows.observed]
    scores = evaluation.scores[MODEL]["load"].overall
    assert scores.mae == pytest.approx(np.abs(missed).mean())
    assert scores.rmse == pytest.approx(np.sqrt((missed**2).mean()))
    low, high = windows.forecast[..., 0], windows.forecast[..., 2]
    inside = ((low <= windows.actual) & (windows.actual <= high))[windows.observed]
    assert scores.coverage == pytest.approx(inside.mean())
    assert evaluation.nominal_coverage == pytest.approx(0.8)


def test_truth_is_what_stands_in_the_file(evaluation: Evaluation, dataset: Dataset) -> None:
    frame = make_frames()["load"].set_index(["item", "time"])["load"]
    windows = evaluation.windows
    for window in (0, len(windows.items) // 2, -1):
        item = dataset.items[windows.items[window]]
        origin = pd.Timestamp(windows.origins[window], unit="us")
        times = pd.date_range(origin, periods=6, freq="h")
        expected = frame.loc[item].loc[times].to_numpy()
        actual = np.where(windows.observed[window, :, 0], windows.actual[window, :, 0], np.nan)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_mase_is_scaled_by_the_train_split_alone(evaluation: Evaluation, dataset: Dataset) -> None:
    frame = make_frames()["load"]
    cut = pd.Timestamp(dataset.split.validation, unit="us")
    scales = []
    for item in dataset.items:
        own = frame[(frame["item"] == item) & (frame["time"] < cut)]["load"]
        scales.append(own.diff(evaluation.season).abs().mean())
    windows = evaluation.windows
    missed = np.abs(windows.point("0.5") - windows.actual)
    scaled = missed / np.array(scales)[windows.items][:, None, None]
    expected = scaled[windows.observed].mean()
    assert evaluation.scores[MODEL]["load"].overall.mase == pytest.approx(expected, rel=1e-4)


def test_missing_values_and_origins_are_counted(evaluation: Evaluation) -> None:
    windows = evaluation.windows
    missing = int((~windows.observed).sum())
    assert missing > 0
    assert evaluation.num_values == windows.observed.sum()
    assert f"{missing} of {windows.observed.size:,} target values" in evaluation.notes[0]


def test_json_holds_everything_but_the_windows(evaluation: Evaluation) -> None:
    found = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert found["verdict"] == evaluation.verdict
    assert found["scores"]["ridge"]["load"]["overall"]["coverage"] is None
    assert len(found["scores"]["model"]["load"]["by_step"]) == 6
    assert found["dates"]["test"] == list(evaluation.dates["test"])
    assert {"season", "ridge", "num_windows", "num_values", "notes"} <= set(found)
    assert "windows" not in found


def test_verdict_names_split_dates_error_and_gains(evaluation: Evaluation) -> None:
    first, end = evaluation.dates["test"]
    best = with_errors(evaluation, model=2.0, last_value=8.0, seasonal_naive=4.0, ridge=2.5)
    assert best.verdict == (
        f"On the test split, {first} to {end}, the model's MAE of load (2.000) beats "
        "last value by 75.0%, seasonal naive by 50.0% and ridge by 20.0%."
    )


def test_verdict_says_plainly_when_the_model_loses(evaluation: Evaluation) -> None:
    mixed = with_errors(evaluation, model=3.0, last_value=8.0, seasonal_naive=4.0, ridge=2.5)
    assert mixed.verdict.endswith(
        "beats last value by 62.5% and seasonal naive by 25.0%, "
        "but does NOT beat ridge (20.0% worse)."
    )
    worst = with_errors(evaluation, model=9.0, last_value=8.0, seasonal_naive=4.5, ridge=0.0)
    assert worst.verdict.endswith(
        "does NOT beat last value (12.5% worse), seasonal naive (100.0% worse) "
        "or ridge (whose error is zero)."
    )


def test_verdict_makes_nothing_of_a_tie_or_a_hair(evaluation: Evaluation) -> None:
    close = with_errors(evaluation, model=2, last_value=2, seasonal_naive=2.0001, ridge=1.9999)
    assert close.verdict.endswith(
        "beats seasonal naive by less than 0.1%, "
        "but does NOT beat last value (equal) or ridge (less than 0.1% worse)."
    )


def test_verdict_says_where_nothing_came_to_compare_with(evaluation: Evaluation) -> None:
    nothing = math.nan
    empty = with_errors(
        evaluation, model=nothing, last_value=nothing, seasonal_naive=nothing, ridge=nothing
    )
    first, end = evaluation.dates["test"]
    assert empty.verdict == f"No value of load lies in the test split, {first} to {end}."


def test_an_untrained_model_is_told_that_it_loses(world: Path) -> None:
    forecaster, dataset = make_forecaster(world)
    evaluation = evaluate(forecaster, dataset)
    assert "does NOT beat" in evaluation.verdict
    assert "ridge (" in evaluation.verdict


def test_several_targets_are_scored_together_and_alone(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["load"] |= {"target": ["load", "staff"], "past": []}
    evaluation = evaluate(*make_forecaster(write_world(tmp_path, settings)))
    own = [evaluation.scores[MODEL][target].overall.mae for target in ("load", "staff")]
    windows = evaluation.windows
    counts = windows.observed.sum(axis=(0, 1))
    pooled = evaluation.scores[MODEL][ALL_TARGETS].overall.mae
    assert pooled == pytest.approx(np.average(own, weights=counts))
    assert f"({own[1]:.4g})" in evaluation.judge("staff")
    assert set(evaluation.to_json()["verdicts"]) == {"load", "staff"}
    assert evaluation.table("staff").loc[MODEL, "mae"] == own[1]


def test_a_series_without_a_scale_is_left_out_of_mase_and_named(tmp_path: Path) -> None:
    frames = make_frames()
    still = frames["load"]["item"] == "south"
    frames["load"].loc[still & frames["load"]["load"].notna(), "load"] = 7.0
    write_frames(tmp_path, frames)
    evaluation = evaluate(*make_forecaster(write_config(tmp_path, make_settings())))
    (note,) = [note for note in evaluation.notes if "MASE" in note]
    assert "leaves out 1 series" in note
    assert "south (load)" in note
    windows = evaluation.windows
    assert math.isfinite(evaluation.scores[MODEL]["load"].overall.mase)
    assert evaluation.num_values == windows.observed.sum()


def test_a_model_without_quantiles_has_no_coverage() -> None:
    random = np.random.default_rng(0)
    actual = random.normal(size=(5, 3, 1))
    windows = WindowForecasts(
        items=np.zeros(5, dtype=np.int64),
        origins=np.arange(5),
        forecast=random.normal(size=(5, 3, 1, 1)),
        actual=actual,
        observed=np.ones(actual.shape, dtype=bool),
        outputs=("mean",),
    )
    scores = Scorer(windows, np.ones((1, 1)), ("y",)).score_model()["y"].overall
    assert math.isnan(scores.coverage)
    assert scores.wql == pytest.approx(scores.mae / np.abs(actual).mean())


def test_median_is_the_point_and_mean_is_for_squared_errors() -> None:
    actual = np.zeros((1, 1, 1))
    windows = WindowForecasts(
        items=np.zeros(1, dtype=np.int64),
        origins=np.zeros(1, dtype=np.int64),
        forecast=np.array([5.0, 1.0, 2.0, 3.0]).reshape(1, 1, 1, 4),
        actual=actual,
        observed=np.ones(actual.shape, dtype=bool),
        outputs=("mean", "0.1", "0.5", "0.9"),
    )
    scores = Scorer(windows, np.ones((1, 1)), ("y",)).score_model()["y"].overall
    assert (scores.mae, scores.rmse, scores.mase) == (2.0, 5.0, 2.0)
    assert windows.quantile_levels == (0.1, 0.5, 0.9)


class TestData:
    def test_are_as_in_training(self, dataset: Dataset, forecaster: Forecaster) -> None:
        trained_on = load_dataset(forecaster.info.config.data)
        assert dataset.split == trained_on.split
        assert dataset.scaling == trained_on.scaling
        ours, theirs = dataset.windows("test"), trained_on.windows("test")
        assert ours.windows.origins.equal(theirs.windows.origins)
        np.testing.assert_array_equal(ours.streams["load"].values, theirs.streams["load"].values)

    def test_that_changed_are_read_with_scaling_and_split_of_the_checkpoint(
        self, forecaster: Forecaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        frames = make_frames()
        frames["load"]["load"] *= 3
        write_frames(tmp_path, frames)
        logger = logging.getLogger("mmts")
        logger.addHandler(caplog.handler)
        dataset = load_evaluation_data(forecaster.info, tmp_path)
        logger.removeHandler(caplog.handler)
        assert "the files of load are not those" in caplog.text
        assert dataset.scaling == forecaster.info.scaling
        assert dataset.split == forecaster.info.split
        assert any("the files of load" in note for note in dataset.notes)

    def test_excluded_items_stay_out(self, tmp_path: Path) -> None:
        settings = make_settings()
        settings["data"]["exclude_items"] = ["north"]
        forecaster, trained_on = make_forecaster(write_world(tmp_path, settings))
        dataset = load_evaluation_data(forecaster.info)
        assert dataset.items == trained_on.items == ("south",)
        ours = next(iter(dataset.windows("test").batches(8)))
        theirs = next(iter(trained_on.windows("test").batches(8)))
        for name, window in ours.streams.items():
            assert window.values.equal(theirs.streams[name].values), name
        assert ours.target.equal(theirs.target)

    def test_that_end_before_the_split_are_refused(
        self, forecaster: Forecaster, tmp_path: Path
    ) -> None:
        frames = make_frames(days=10)
        write_frames(tmp_path, frames)
        dataset = load_evaluation_data(forecaster.info, tmp_path)
        with pytest.raises(DataError, match="no window of the test split"):
            evaluate(forecaster, dataset)


def test_origins_without_a_window_are_counted(dataset: Dataset) -> None:
    windows = dataset.windows("test")
    target = dataset.streams[dataset.schema.target_stream]
    bounds = dataset.split.bounds("test")
    counts = count_origins(target, dataset.schema, *bounds, len(windows))
    assert counts == (len(windows), 0, 0)
    schema = dataset.schema
    early = dataset.split.begin + 10 * schema.frequency
    split = dataset.split.model_copy(update={"test": early, "validation": early - 1})
    moved = replace(dataset, split=split)
    num_windows = len(moved.windows("test"))
    counts = count_origins(target, schema, *split.bounds("test"), num_windows)
    assert counts.num_windows == num_windows
    assert (counts.without_target, counts.without_context) == (
        0,
        2 * (schema.target.context_steps - 10),
    )


@pytest.fixture(scope="module")
def evaluated(mmts: Command, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("evaluated") / "deep" / "folder"
    return mmts("evaluate", trained, "--output", folder, "--json"), folder


def test_command_prints_json_and_nothing_else(evaluated: Any) -> None:
    done, _ = evaluated
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["scores"]) == set(METHODS)


def test_command_writes_numbers_and_pictures(evaluated: Any) -> None:
    done, folder = evaluated
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(done.stdout)
    assert set(pd.read_csv(folder / "by_step.csv")["method"]) == set(METHODS)
    for name in ("error_by_step.png", "windows.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_command_evaluates_the_validation_split_of_data_that_moved(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    write_frames(tmp_path / "moved", make_frames())
    done = mmts(
        "evaluate", trained, "--split", "validation", "--data-root", tmp_path / "moved",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "On the validation split" in done.stdout
    assert "coverage of 80%" in done.stdout
    assert max(map(len, done.stdout.split("\n\n")[1].splitlines())) < 80


def test_command_refuses_a_folder_that_is_a_file(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "kept"
    output.write_text("precious")
    done = mmts("evaluate", trained, "--output", output)
    assert done.returncode == 2
    assert "cannot be made" in done.stderr
    assert "Traceback" not in done.stderr
    assert output.read_text() == "precious"
