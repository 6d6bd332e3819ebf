"""A backtest without refit: the right windows, the right numbers, an honest verdict."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmts.backtest.comparison import Comparison, compare
from mmts.backtest.cutoffs import choose_cutoffs
from mmts.backtest.report import Backtest
from mmts.backtest.run import backtest
from mmts.data.dataset import Dataset
from mmts.evaluation import ALL_TARGETS, BASELINES, MODEL, evaluate, load_evaluation_data
from mmts.forecasting import Forecaster
from tests.backtest.worlds import (
    LAST,
    opened,
    overwrite_unknown,
    tiny_settings,
    train_tiny,
)
from tests.factories import make_frames, write_frames

METHODS = [MODEL, *BASELINES]


@pytest.fixture(scope="module")
def subject(tiny: Path) -> tuple[Forecaster, Dataset]:
    return opened(tiny)


@pytest.fixture(scope="module")
def found(subject: tuple[Forecaster, Dataset]) -> Backtest:
    forecaster, dataset = subject
    return backtest(forecaster, dataset, choose_cutoffs(dataset, "test"), "test")


def test_the_table_holds_every_method_cutoff_item_and_step(found: Backtest) -> None:
    table = found.forecasts
    assert list(table.columns) == [
        "method", "cutoff", "item_id", "target", "step", "timestamp", "forecast", "actual",
        "0.1", "0.5", "0.9",
    ]  # fmt: skip
    assert list(table["method"].unique()) == METHODS
    assert len(table) == len(METHODS) * len(found.cutoffs) * 2 * 6
    is_model = table["method"] == MODEL
    assert table.loc[is_model, ["0.1", "0.5", "0.9"]].notna().all(axis=None)
    assert table.loc[~is_model, ["0.1", "0.5", "0.9"]].isna().all(axis=None)
    ahead = pd.to_datetime(table["timestamp"]) - pd.to_datetime(table["cutoff"])
    assert (ahead == pd.to_timedelta(table["step"] - 1, unit="h")).all()


def test_actual_values_are_those_of_the_file(found: Backtest) -> None:
    frame = make_frames()["load"].set_index(["item", "time"])["load"]
    table = found.forecasts
    keys = pd.MultiIndex.from_arrays([table["item_id"], pd.to_datetime(table["timestamp"])])
    np.testing.assert_allclose(table["actual"], frame.loc[keys].to_numpy(), rtol=1e-5)


def test_forecasts_are_those_of_the_forecast_command(
    found: Backtest, subject: tuple[Forecaster, Dataset]
) -> None:
    table = found.forecasts[found.forecasts["method"] == MODEL]
    cutoff = found.cutoffs[1].cutoff
    ours = table[table["cutoff"] == cutoff]
    theirs = subject[0].predict(
        {name: frame for name, frame in make_frames().items() if name not in ("news", "site")},
        cutoff,
    )
    np.testing.assert_allclose(ours["0.9"], theirs["0.9"], rtol=1e-5)


def test_scores_are_those_of_the_table(found: Backtest) -> None:
    scores = found.scores_table()
    for method, of_method in found.forecasts.groupby("method"):
        missed = (of_method["forecast"] - of_method["actual"]).abs()
        for name in ("cutoff", "step"):
            expected = missed.groupby(of_method[name]).mean()
            own = scores[(scores["method"] == method) & scores[name].notna()].set_index(name)
            np.testing.assert_allclose(own.loc[expected.index, "mae"], expected, rtol=1e-6)
            counts = missed.groupby(of_method[name]).count()
            assert own.loc[counts.index, "num_values"].tolist() == counts.tolist()


def test_mean_and_deviation_are_over_cutoffs(found: Backtest) -> None:
    errors = [cutoff.scores["ridge"]["load"].mae for cutoff in found.cutoffs]
    spread = found.spread("ridge", "load", "mae")
    assert spread.mean == pytest.approx(np.mean(errors))
    assert spread.deviation == pytest.approx(np.std(errors, ddof=1))


def test_baselines_and_scales_are_those_of_an_evaluation(
    subject: tuple[Forecaster, Dataset],
) -> None:
    forecaster, dataset = subject
    # Every window of the split is one of a backtest that goes step by step.
    cutoffs = choose_cutoffs(dataset, "test", step=1)
    dense = backtest(forecaster, dataset, cutoffs, "test")
    evaluation = evaluate(forecaster, dataset)
    for method in METHODS:
        by_step = evaluation.scores[method]["load"].by_step
        for ours, theirs in zip(dense.by_step[method]["load"], by_step, strict=True):
            assert ours.mae == pytest.approx(theirs.mae, rel=1e-6)
            assert ours.mase == pytest.approx(theirs.mase, rel=1e-6)
    assert any("less than a horizon apart" in note for note in dense.notes)


def test_items_on_another_grid_begin_at_their_last_place_before(tmp_path: Path) -> None:
    frames = make_frames()
    late = frames["load"]["item"] == "south"
    frames["load"].loc[late, "time"] += pd.Timedelta(minutes=20)
    forecaster, dataset = opened(train_tiny(tmp_path, frames))
    found = backtest(forecaster, dataset, choose_cutoffs(dataset, "test", num_windows=2), "test")
    first = found.forecasts[found.forecasts["step"] == 1]
    ahead = pd.to_datetime(first["timestamp"]) - pd.to_datetime(first["cutoff"])
    by_item = ahead.groupby(first["item_id"]).unique()
    assert sorted(set(by_item["north"]) | set(by_item["south"])) in (
        [pd.Timedelta(minutes=-40), pd.Timedelta(0)],
        [pd.Timedelta(minutes=-20), pd.Timedelta(0)],
    )
    assert {len(times) for times in by_item} == {1}


def test_a_series_without_a_scale_is_left_out_of_mase_and_named(tmp_path: Path) -> None:
    frames = make_frames()
    still = (frames["load"]["item"] == "south") & frames["load"]["load"].notna()
    frames["load"].loc[still, "load"] = 7.0
    forecaster, dataset = opened(train_tiny(tmp_path, frames))
    found = backtest(forecaster, dataset, choose_cutoffs(dataset, "test"), "test")
    (note,) = [note for note in found.notes if "MASE" in note]
    assert "leaves out 1 series" in note
    assert "south (load)" in note
    both = found.forecasts[found.forecasts["method"] == MODEL]
    north = both[both["item_id"] == "north"]
    own = pd.DataFrame({"missed": (north["forecast"] - north["actual"]).abs()})
    train = make_frames()["load"]
    cut = pd.Timestamp(dataset.split.validation, unit="us")
    known = train[(train["item"] == "north") & (train["time"] < cut)]["load"]
    scale = known.diff(found.cutoffs[0].season).abs().mean()
    for cutoff in found.cutoffs:
        expected = own["missed"][north["cutoff"] == cutoff.cutoff].mean() / scale
        assert cutoff.scores[MODEL]["load"].mase == pytest.approx(expected, rel=1e-4)


def test_without_any_scale_mase_is_no_number(tmp_path: Path) -> None:
    frames = make_frames(items=("north",))
    frames["load"].loc[frames["load"]["load"].notna(), "load"] = 7.0
    forecaster, dataset = opened(train_tiny(tmp_path, frames))
    found = backtest(forecaster, dataset, choose_cutoffs(dataset, "test", num_windows=2), "test")
    assert math.isnan(found.spread(MODEL, "load", "mase").mean)
    assert found.to_json()["scores"][MODEL]["load"]["mase"] == {"mean": None, "deviation": None}
    assert math.isfinite(found.spread(MODEL, "load", "mae").mean)


def test_several_targets_are_scored_together_and_alone(tmp_path: Path) -> None:
    settings = tiny_settings()
    settings["data"]["streams"]["load"] |= {"target": ["load", "staff"], "past": []}
    forecaster, dataset = opened(train_tiny(tmp_path, settings=settings))
    found = backtest(forecaster, dataset, choose_cutoffs(dataset, "test", num_windows=3), "test")
    assert found.all_targets == ("load", "staff", ALL_TARGETS)
    assert set(found.to_json()["verdicts"]) == {"load", "staff"}
    table = found.forecasts[found.forecasts["method"] == MODEL]
    missed = (table["forecast"] - table["actual"]).abs()
    for cutoff in found.cutoffs:
        own = missed[(table["target"] == "staff") & (table["cutoff"] == cutoff.cutoff)]
        assert cutoff.scores[MODEL]["staff"].mae == pytest.approx(own.mean())
        assert cutoff.num_values["staff"] == own.count()


def test_rows_after_the_split_do_not_move_the_cutoffs(
    subject: tuple[Forecaster, Dataset], found: Backtest, tmp_path: Path
) -> None:
    frames = make_frames()
    newer = frames["load"].tail(24).copy()
    newer["time"] += pd.Timedelta(days=1)
    write_frames(tmp_path, {**frames, "load": pd.concat([frames["load"], newer])})
    dataset = load_evaluation_data(subject[0].info, tmp_path)
    again = backtest(subject[0], dataset, choose_cutoffs(dataset, "test"), "test")
    assert [c.cutoff for c in again.cutoffs] == [c.cutoff for c in found.cutoffs]
    assert any("the files of load are not those" in note for note in again.notes)


def test_no_method_sees_what_was_not_known_at_the_cutoff(
    subject: tuple[Forecaster, Dataset], tmp_path: Path
) -> None:
    tables = []
    for name, change in {"true": None, "noisy": overwrite_unknown}.items():
        frames = make_frames() if change is None else change(make_frames(), LAST)
        write_frames(tmp_path / name, frames)
        dataset = load_evaluation_data(subject[0].info, tmp_path / name)
        cutoffs = choose_cutoffs(dataset, "test", num_windows=1)
        tables.append(backtest(subject[0], dataset, cutoffs, "test").forecasts)
    true, noisy = tables
    assert not true["actual"].equals(noisy["actual"])
    pd.testing.assert_frame_equal(
        true.drop(columns="actual"), noisy.drop(columns="actual"), check_exact=True
    )


class TestComparison:
    def test_counts_and_interval_are_of_paired_cutoffs(self) -> None:
        from scipy import stats

        random = np.random.default_rng(0)
        model = random.normal(5, 1, 9)
        other = model + random.normal(0.3, 0.2, 9)
        found = compare(model, other, np.arange(9) * 10, horizon=10)
        interval = stats.ttest_rel(other, model).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        assert found.num_better == (model < other).sum()
        assert found.num_cutoffs == 9

    def test_cutoffs_that_overlap_count_as_one(self) -> None:
        model, other = np.array([1.0, 1.0, 2.0, 2.0]), np.array([2.0, 4.0, 3.0, 4.0])
        overlapping = compare(model, other, np.array([0, 5, 20, 25]), horizon=10)
        apart = compare(np.array([1.0, 2.0]), np.array([3.0, 3.5]), np.array([0, 10]), horizon=10)
        assert (overlapping.low, overlapping.high) == pytest.approx((apart.low, apart.high))

    def test_a_stretch_counts_for_as_many_cutoffs_as_it_has(self) -> None:
        gains = np.concatenate([np.full(24, 1.0), [-2.0, -2.0, -2.0]])
        places = np.concatenate([np.arange(24), [60, 120, 180]])
        found = compare(np.zeros(27), gains, places, horizon=12)
        assert found.other - found.model == pytest.approx(gains.mean())
        assert (found.low + found.high) / 2 == pytest.approx(gains.mean())

    def test_chance_is_clear_no_more_often_than_it_says(self) -> None:
        random, horizon = np.random.default_rng(0), 24
        found = [
            compare(np.zeros(480), steps, np.arange(480), horizon).is_clear
            for steps in (
                np.convolve(random.normal(size=480 + horizon - 1), np.ones(horizon), "valid")
                for _ in range(400)
            )
        ]
        assert 0.02 < np.mean(found) < 0.08

    def test_cutoffs_without_a_score_are_left_out(self) -> None:
        found = compare(np.array([1.0, np.nan]), np.array([1.0, 2.0]), np.arange(2), horizon=1)
        assert (found.num_cutoffs, found.num_equal, found.num_better) == (1, 1, 0)
        assert not found.is_clear
        nothing = compare(np.array([np.nan]), np.array([1.0]), np.arange(1), horizon=1)
        assert nothing.num_cutoffs == 0


class TestVerdict:
    def judged(self, found: Backtest, *comparisons: Comparison) -> str:
        named = dict(zip(BASELINES, comparisons, strict=True))
        return replace(found, comparisons={"load": named}).verdict

    def test_names_gains_and_how_often(self, found: Backtest) -> None:
        better = Comparison(2.0, 4.0, 5, 0, 6, 1.0, 3.0)
        tie = Comparison(2.0, 2.0, 0, 6, 6, 0.0, 0.0)
        worse = Comparison(2.0, 1.6, 1, 0, 6, -0.9, 0.1)
        verdict = self.judged(found, better, tie, worse)
        assert (
            "beats last value by 50.0% (better at 5 of 6), but does NOT beat seasonal naive "
            "(equal, better at 0 of 6, equal at 6) or ridge (25.0% worse, better at 1 of 6)."
        ) in verdict
        assert "the difference to seasonal naive and ridge may be chance" in verdict

    def test_of_one_cutoff_says_that_it_tells_little(
        self, subject: tuple[Forecaster, Dataset]
    ) -> None:
        forecaster, dataset = subject
        one = backtest(forecaster, dataset, choose_cutoffs(dataset, "test", 1), "test")
        assert one.verdict.startswith("From one cut-off")
        assert one.verdict.endswith("One cut-off tells little.")
        assert "±" not in one.setting
        assert math.isnan(one.spread(MODEL, "load", "mae").deviation)

    def test_on_the_validation_split_says_what_was_chosen_there(
        self, subject: tuple[Forecaster, Dataset]
    ) -> None:
        forecaster, dataset = subject
        cutoffs = choose_cutoffs(dataset, "validation", 2)
        notes = backtest(forecaster, dataset, cutoffs, "validation").notes
        assert any("chosen on the validation split" in note for note in notes)


def test_json_is_plain(found: Backtest) -> None:
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["verdict"] == found.verdict
    assert len(plain["cutoffs"]) == len(found.cutoffs)
    assert plain["comparisons"]["load"]["ridge"]["num_cutoffs"] == len(found.cutoffs)
    assert len(plain["by_step"][MODEL]["load"]) == 6
