"""Sets of the accuracy benchmark that its tables do not know, found by their layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from accuracy_data import PreparedSet, prepare
from accuracy_others import find_sets
from accuracy_sets import FAMILIES

from mmts.data.dataset import Dataset, load_dataset
from mmts.errors import DataError


def write(path: Path, **columns: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, index=False)


def noise(length: int) -> np.ndarray:
    return np.random.default_rng(length).normal(size=length)


def prepare_other(data: Path, family: str, name: str) -> tuple[PreparedSet, Dataset]:
    (chosen,) = find_sets(family, [name], data).values()
    assert not chosen.marks
    work = data / "work"
    work.mkdir()
    prepared = prepare(name, chosen, data, work)
    return prepared, load_dataset(prepared.config(min(chosen.horizons)).data)


def test_a_known_set_is_that_of_the_tables(tmp_path: Path) -> None:
    assert find_sets("ett", ["ETTh1"], tmp_path) == {"ETTh1": FAMILIES["ett"]["ETTh1"]}


@pytest.mark.parametrize(("freq", "num_windows"), [("h", 2785), ("15min", 11425)])
def test_another_transformer_is_cut_and_forecast_as_those_known(
    tmp_path: Path, freq: str, num_windows: int
) -> None:
    rows = 17_420 if freq == "h" else 69_680
    dates = pd.date_range("2016-07-01", periods=rows, freq=freq)
    write(tmp_path / "ett/ETTx2.csv", date=dates, HUFL=noise(rows), OT=noise(rows))
    _, dataset = prepare_other(tmp_path, "ett", "ETTx2")
    assert dataset.schema.target_columns == ("HUFL", "OT")
    assert len(dataset.windows("test")) == num_windows


def test_another_market_reads_what_its_file_holds_in_both_tracks(tmp_path: Path) -> None:
    columns = {" System load forecast": noise(1000), " Zonal, COMED": noise(1000)}
    dates = pd.date_range("2013-01-01", periods=1000, freq="h")
    write(tmp_path / "epf/PJM.csv", date=dates, **columns, OT=noise(1000))
    _, dataset = prepare_other(tmp_path, "epf", "PJM, known future")
    ahead = dataset.schema.streams["ahead"]
    assert ahead.has_future
    assert [c.name for c in ahead.columns] == ["System load forecast", "Zonal, COMED"]
    assert len(dataset.windows("test")) == 1000 // 5 - 23
    assert not find_sets("epf", ["PJM, past only"], tmp_path)["PJM, past only"].known_future


@pytest.mark.parametrize(
    ("freq", "horizons"),
    [("D", (48, 96, 192, 336)), ("7D", (12, 24, 36, 48)), ("MS", (6, 8, 10, 12))],
)
def test_another_domain_has_the_horizons_of_its_rate(
    tmp_path: Path, freq: str, horizons: tuple[int, ...]
) -> None:
    num_rows = 3000 if freq == "D" else 600
    dates = pd.date_range("1980-01-01", periods=num_rows + 1, freq=freq)
    table = pd.DataFrame({"date": dates[:-1], "end_date": dates[1:] - pd.Timedelta(days=1)})
    table["OT"] = table["prior_history_avg"] = noise(num_rows)
    table["fact"] = "nothing new"
    if freq != "MS":
        # One row is missing: the protocol counts rows.
        table = table.drop(index=7)
    write(tmp_path / "time_mmd/Traffic.csv", **table)
    prepared, dataset = prepare_other(tmp_path, "time_mmd", "Traffic")
    assert prepared.chosen.horizons == horizons
    assert prepared.num_test_rows == len(table) // 5
    assert len(dataset.windows("test")) == len(table) // 5 - horizons[0] + 1


def test_another_county_is_a_set_of_its_own(tmp_path: Path) -> None:
    hours = pd.date_range("2024-01-01", periods=600, freq="h")
    values = {name: noise(600) for name in ("temp", "pm2_5", "aqi", "ozone")}
    write(tmp_path / "epa_air/Boise/time_series.csv", date_time=hours, **values)
    write(tmp_path / "epa_air/Boise/text.csv", date_time=hours[::48], text="calm air")
    _, dataset = prepare_other(tmp_path, "epa_air", "Boise")
    assert len(dataset.schema.target_columns) == 4
    assert "news" in dataset.schema.streams


def test_what_is_not_there_is_named_all_at_once(tmp_path: Path) -> None:
    write(tmp_path / "epf/PJM.csv", date=["2013-01-01"], OT=[1.0])
    with pytest.raises(DataError) as refused:
        find_sets("epf", ["PJM", "BE, past only"], tmp_path)
    said = str(refused.value)
    assert "PJM: name the track as well: PJM, past only" in said
    assert "BE, past only: no such set" in said
    assert "Known sets of epf: NP, past only" in said
