"""The accuracy benchmark on made-up files in the layout of the real ones."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import accuracy
import accuracy_runs
import accuracy_sets
import numpy as np
import pandas as pd
import pytest
from accuracy_data import EMPTY, PRIOR_COLUMN, SHUFFLED, TEXT, prepare
from accuracy_document import DOCUMENT, MARKERS, RESULTS, aims, fill_document, outdated
from accuracy_runs import OWN_RIDGE, SEASONAL_PRIOR, mean_of, median_of, score
from accuracy_sets import FAMILIES, MEAN, RIDGE_MARK
from accuracy_tables import set_table

from mmts.config import load_config
from mmts.data.dataset import load_dataset
from mmts.errors import DataError
from mmts.evaluation import WindowForecasts

NUM_WEEKS, NUM_HOURS = 300, 480
TINY = [
    "training.max_epochs=1",
    "training.steps_per_epoch=2",
    "model.encoders.illness={kind: mlp, dim: 8, num_layers: 1}",
]

AIR = FAMILIES["epa_air"]["Denver"]
SHORT_AIR = replace(
    AIR, horizons=(6,), changes=(*AIR.changes, "data.streams.air.context_length=24h")
)


def write_health(data: Path, stamps_twice: bool = True) -> pd.DataFrame:
    """Write weekly rows in any order, of which one has no target and two share a date."""
    random = np.random.default_rng(0)
    dates = pd.Series(pd.date_range("2010-01-04", periods=NUM_WEEKS, freq="7D"))
    season = np.sin(2 * np.pi * np.arange(NUM_WEEKS) / 52)
    stamped = dates.copy()
    if stamps_twice:
        stamped[100] = stamped[99]
    table = pd.DataFrame(
        {
            "date": stamped,
            "end_date": stamped + pd.Timedelta(days=6),
            "% WEIGHTED ILI": season,
            "OT": 5 + season + 0.1 * random.normal(size=NUM_WEEKS),
            "ILITOTAL": 1.0,
            "NUM. OF PROVIDERS": np.arange(NUM_WEEKS),
            "TOTAL PATIENTS": 2.0,
            PRIOR_COLUMN: 5 + season,
            "fact": [f"the week of number {number}" for number in range(NUM_WEEKS)],
            "preds": "what is to come",
        }
    )
    empty = table.iloc[[-1]].assign(date=dates.iloc[-1] + pd.Timedelta(days=7), OT=np.nan)
    (data / "time_mmd").mkdir(parents=True)
    shuffled = pd.concat([table, empty]).sample(frac=1, random_state=0)
    # A stable sort by date keeps two rows of one date as they stand in the file.
    shuffled.sort_values("OT", na_position="first").to_csv(
        data / "time_mmd" / "Health.csv", index=False
    )
    return table


def write_prices(data: Path, num_rows: int) -> None:
    random = np.random.default_rng(0)
    wind = random.normal(size=num_rows)
    table = pd.DataFrame(
        {
            "date": pd.date_range("2013-01-01", periods=num_rows, freq="h"),
            " Grid load forecast": random.normal(size=num_rows),
            " Wind power forecast": wind,
            "OT": 30 - 5 * wind,
        }
    )
    (data / "epf").mkdir(parents=True)
    table.to_csv(data / "epf" / "NP.csv", index=False)


def write_air(data: Path) -> None:
    hours = pd.date_range("2024-01-01", periods=NUM_HOURS, freq="h")
    for county in ("Denver",):
        random = np.random.default_rng(len(county))
        table = pd.DataFrame({"date_time": hours, "record_id": county})
        table["temp"] = (
            50 + 10 * np.sin(2 * np.pi * hours.hour / 24) + random.normal(size=NUM_HOURS)
        )
        for name, every in {"pm2_5": 8, "aqi": 24, "ozone": 48}.items():
            table[name] = np.where(
                np.arange(NUM_HOURS) % every == 0, random.normal(size=NUM_HOURS), np.nan
            )
        folder = data / "epa_air" / county
        folder.mkdir(parents=True)
        table.to_csv(folder / "time_series.csv", index=False)
        news = pd.DataFrame({"date_time": hours[::48], "record_id": county, "text": "calm air"})
        news.to_csv(folder / "text.csv", index=False)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["accuracy.py", *map(str, arguments), "--jobs", "1"])
    accuracy.main()


def read_runs(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["runs"]
    return found


def test_the_protocol_counts_every_window_that_fits_its_rows() -> None:
    for family, num_test in (("ett", {"ETTh1": 2880, "ETTm1": 11520}),):
        for name, rows in num_test.items():
            for horizon, count in FAMILIES[family][name].num_windows.items():
                assert count == rows - horizon + 1
    num_test = 52_416 // 5
    for chosen in FAMILIES["epf"].values():
        assert chosen.num_windows == {24: num_test - 23}


def test_no_track_of_prices_holds_the_marks_of_the_other() -> None:
    for name, chosen in FAMILIES["epf"].items():
        assert chosen.known_future == name.endswith("known future")
        assert ("TimeXer, published" in chosen.marks) != chosen.known_future
        assert ("DAG, published" in chosen.marks) == chosen.known_future


@pytest.mark.parametrize("track", ["past only", "known future"])
def test_only_one_track_of_prices_sees_the_future(tmp_path: Path, track: str) -> None:
    write_prices(tmp_path, 1500)
    chosen = replace(FAMILIES["epf"][f"NP, {track}"], num_windows={})
    work = tmp_path / "work"
    work.mkdir()
    prepared = prepare("NP", chosen, tmp_path, work)
    ahead = load_dataset(prepared.config(24).data).schema.streams["ahead"]
    assert ahead.has_future == (track == "known future")
    split = prepared.settings["data"]["split"]
    assert split == {"validation": 1050, "test": 1200, "end": 1500}


def test_other_files_than_those_published_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prices(tmp_path, 1500)
    with pytest.raises(DataError, match="277 test windows, and the protocol has 10460"):
        run(
            monkeypatch, "epf", "--data", tmp_path, "--sets", "NP, past only", "--baselines-only",
            "--results", tmp_path / "results.json",
        )  # fmt: skip


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"ETTh1\.csv: there is no such file"):
        run(monkeypatch, "ett", "--data", tmp_path, "--baselines-only")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ett", "--data", "nowhere"], "is no folder"),
        (["ett", "--data", ".", "--sets", "ETTh3"], "ETTh3: no such set"),
        (["ett", "--data", ".", "--horizons", "97"], "97 are not among"),
        (["ett", "--data", ".", "--seeds", "0"], "1 at least"),
    ],
)
def test_a_wrong_argument_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        accuracy.parse_arguments(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_rows_of_time_mmd_are_counted_one_after_another(tmp_path: Path) -> None:
    table = write_health(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    prepared = prepare("Health", FAMILIES["time_mmd"]["Health"], tmp_path, work)
    written = pd.read_csv(work / "Health.csv", parse_dates=["date", "end_date"])
    assert len(written) == NUM_WEEKS
    assert "preds" not in written
    assert (written["date"].diff().dropna() == pd.Timedelta(days=7)).all()
    assert (written["end_date"] - written["date"] == pd.Timedelta(days=6)).all()
    assert sorted(written["OT"]) == pytest.approx(sorted(table["OT"]))
    assert prepared.num_test_rows == 60
    for horizon in (6, 12):
        dataset = load_dataset(prepared.config(horizon).data)
        assert len(dataset.windows("test")) == 60 - horizon + 1


def test_no_text_of_a_row_is_known_before_its_period_is_over(tmp_path: Path) -> None:
    write_health(tmp_path, stamps_twice=False)
    work = tmp_path / "work"
    work.mkdir()
    prepared = prepare("Health", FAMILIES["time_mmd"]["Health"], tmp_path, work)
    dataset = load_dataset(prepared.config(12).data)
    batch = dataset.windows("test").gather(dataset.windows("test").windows.items.new_tensor([0]))
    reports = batch.streams["reports"]
    shown = reports.observed.any(dim=-1)
    assert shown.any()
    assert (reports.available[shown] <= 0).all()
    assert (reports.end[shown] <= 0).all()


@pytest.mark.slow
def test_the_family_runs_once_and_prints_all_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_health(tmp_path)
    results = tmp_path / "results.json"
    changes = [part for change in TINY for part in ("--config-set", change)]
    arguments = (
        "time_mmd", "--data", tmp_path, "--sets", "Health", "--horizons", 12, "--seeds", 1,
        "--results", results, *changes,
    )  # fmt: skip
    run(monkeypatch, *arguments)
    runs = read_runs(results)
    trained = {found["variant"] for found in runs if found["seed"]}
    assert trained == {"model, no text", TEXT, SHUFFLED, EMPTY}
    by_arm = {found["variant"]: found for found in runs}
    assert by_arm[TEXT]["test"] != by_arm[SHUFFLED]["test"]
    # The prior is the season without its noise.
    assert by_arm[SEASONAL_PRIOR]["test"]["mae"] < by_arm["last value"]["test"]["mae"]
    assert {found["test"]["num_windows"] for found in runs} == {49}
    assert str(tmp_path) not in results.read_text()
    assert by_arm[TEXT]["settings"]["training"]["max_epochs"] == 1
    before = results.read_bytes()
    first = capsys.readouterr().out
    run(monkeypatch, *arguments)
    second = capsys.readouterr().out
    assert results.read_bytes() == before
    assert first.endswith(second)
    document = fill_document("<!-- table time_mmd --><!-- end -->", runs)
    for row in (*by_arm, "Aurora, published"):
        assert f"| {row} |" in document


def test_the_document_holds_what_the_results_say() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert fill_document(text, read_runs(RESULTS)) == text
    assert set(MARKERS.findall(text)) == {"aims", "caution", "unseen", *FAMILIES}


def test_an_aim_is_met_only_where_both_measures_are_below_the_best_baseline() -> None:
    def runs(model: tuple[float, float]) -> list[dict[str, Any]]:
        arms = {"last value": (0.5, 0.3), "ridge, own past": (0.4, 0.4), "model": model}
        return [
            {"set": "NP, known future, 24 steps", "variant": arm, "seed": int(arm == "model"),
             "test": {"mse": mse, "mae": mae}}
            for arm, (mse, mae) in arms.items()
        ]  # fmt: skip

    def row(model: tuple[float, float]) -> tuple[str, ...]:
        return next(row for row in aims(runs(model)) if row[0] == "NP, known future")

    assert row((0.35, 0.31))[2] == ".400/.300"
    assert row((0.35, 0.31))[-1] == "**missed**, stretch **missed**"
    assert row((0.36, 0.27))[3] == "-10.0 %/-10.0 %"
    assert row((0.36, 0.27))[-1] == "met, stretch **missed**"
    # Published figures have three digits.
    assert row((0.2024, 0.2374))[-1] == "met, stretch met"


def test_the_document_names_the_sets_of_which_runs_of_an_earlier_recipe_count() -> None:
    def runs(set_name: str, *recipes: int | None) -> list[dict[str, Any]]:
        found: dict[str, Any] = {"set": set_name, "variant": "model", "seed": 1}
        return [found if recipe is None else {**found, "recipe": recipe} for recipe in recipes]

    now = accuracy_runs.RECIPE
    found = [
        *runs("ETTh1, 96 steps", now - 1), *runs("ETTh1, 720 steps", None),
        *runs("ETTh1, 192 steps", None, now), *runs("Denver, 24 steps", now - 1),
        {"set": "Richmond, 24 steps", "variant": "last value", "seed": 0},
    ]  # fmt: skip
    assert list(outdated(found)) == [
        "By an earlier recipe, and not run again yet: ETTh1 at 96 and 720 steps, Denver."
    ]
    assert list(outdated(found[-1:])) == []


@pytest.mark.parametrize(("of_mean", "expected"), [(0.3, ".200/.100"), (0.5, ".250/.240")])
def test_validation_chooses_between_the_median_and_the_mean(of_mean: float, expected: str) -> None:
    scores = {
        "validation": (0.4, 0.1), "validation, mean": (of_mean, 0.9),
        "test": (0.25, 0.24), "test, mean": (0.2, 0.1),
    }  # fmt: skip
    run = {key: {"mse": mse, "mae": mae} for key, (mse, mae) in scores.items()}
    runs = [{"set": "NP, known future, 24 steps", "variant": "model", "seed": 1, **run}]
    baseline = {"variant": "last value", "seed": 0, "test": {"mse": 0.5, "mae": 0.3}}
    runs.append({"set": "NP, known future, 24 steps", **baseline})
    row = next(row for row in aims(runs) if row[0] == "NP, known future")
    assert row[1] == expected
    chosen = FAMILIES["epf"]["NP, known future"]
    assert [row[0] for row in set_table(chosen, {"model": {24: runs[:1]}})[-2:]] == [
        "model", "model, mean",
    ]  # fmt: skip


def test_the_mean_that_quantiles_tell_lies_on_the_side_of_the_longer_tail() -> None:
    levels = np.array([1.0, 2.0, 5.0])
    windows = WindowForecasts(
        items=np.zeros(1, int), origins=np.zeros(1, int), forecast=levels[None, None, None],
        actual=np.zeros((1, 1, 1)), observed=np.ones((1, 1, 1), bool),
        outputs=("0.1", "0.5", "0.9"),
    )  # fmt: skip
    assert mean_of(windows).item() == pytest.approx(0.3 * 1 + 0.4 * 2 + 0.3 * 5)
    assert median_of(windows).item() == 2


@pytest.mark.slow
def test_a_change_of_the_model_leaves_the_baselines_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_air(tmp_path)
    results = tmp_path / "results.json"
    monkeypatch.setitem(FAMILIES["epa_air"], "Denver", SHORT_AIR)
    common = (
        "epa_air", "--data", tmp_path, "--sets", "Denver", "--results", results, "--seeds", 1,
    )  # fmt: skip
    run(monkeypatch, *common, "--baselines-only")
    baselines = read_runs(results)
    assert all(found["test"]["num_values"] < 6 * 4 * 67 for found in baselines)
    assert {found["variant"] for found in baselines} >= {OWN_RIDGE, "ridge, filled forward"}
    tiny = ["training.max_epochs=1", "training.steps_per_epoch=1", "model.stream_dropout=0"]
    for dropout in ("0", "0.5"):
        tiny[-1] = f"model.stream_dropout={dropout}"
        run(monkeypatch, *common, *(part for c in tiny for part in ("--config-set", c)))
    runs = read_runs(results)
    assert runs[: len(baselines)] == baselines
    assert [found["variant"] for found in runs[len(baselines) :]] == ["model", "model"]
    # An earlier recipe made other forecasts of the same settings.
    runs[-1]["recipe"] = accuracy_runs.RECIPE - 1
    results.write_text(json.dumps({"runs": runs}))
    for _ in range(2):
        run(monkeypatch, *common, *(part for c in tiny for part in ("--config-set", c)))
        (*before, again) = read_runs(results)
        assert before == runs
        assert (again["digest"], again["recipe"]) == (runs[-1]["digest"], accuracy_runs.RECIPE)


def test_errors_are_pooled_over_observed_values_before_they_are_averaged(tmp_path: Path) -> None:
    write_air(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    prepared = prepare("Denver", SHORT_AIR, tmp_path, work)
    dataset = load_dataset(prepared.config(24).data)
    missed = np.zeros((3, 24, 4))
    missed[0], missed[1], missed[2] = 1.0, 2.0, 3.0
    observed = np.ones(missed.shape, dtype=bool)
    observed[1, 1:] = False
    found = score(missed, observed, dataset)
    assert found["mse"] == pytest.approx((96 * 1 + 4 * 4 + 96 * 9) / 196)
    assert found["mae"] == pytest.approx((96 * 1 + 4 * 2 + 96 * 3) / 196)
    assert found["by_target"]["temp"]["num_values"] == 49


def test_the_table_averages_horizons_by_seed() -> None:
    chosen = replace(FAMILIES["time_mmd"]["Climate"], horizons=(6, 8))
    scores = {6: {1: 1.0, 2: 2.0}, 8: {1: 2.0, 2: 3.0}}
    runs = {
        "model": {
            horizon: [{"seed": s, "test": {"mse": v, "mae": v / 10}} for s, v in by_seed.items()]
            for horizon, by_seed in scores.items()
        }
    }
    *_, row = set_table(chosen, runs)
    assert row == (
        "model", "1.500 ±.707 / .150 ±.071", "2.500 ±.707 / .250 ±.071",
        "2.000 ±.707 / .200 ±.071", "2",
    )  # fmt: skip
    assert set_table(chosen, runs)[1][0] == RIDGE_MARK
    assert MEAN in chosen.marks[RIDGE_MARK]


def test_every_set_has_its_config() -> None:
    for sets in FAMILIES.values():
        for chosen in sets.values():
            config = load_config(Path(accuracy_sets.__file__).parent.parent / chosen.config)
            assert config.data.target_stream == chosen.target
