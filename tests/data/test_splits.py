"""Where train, validation and test are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmts.data.config import DataConfig
from mmts.data.dataset import Dataset, load_dataset
from mmts.errors import DataError

BEGIN = pd.Timestamp("2024-03-01")


def write_hours(folder: Path, num_rows: int = 100, **changes: Any) -> pd.DataFrame:
    """Write hourly rows of two targets and a plan, which is known for ten hours more."""
    times = pd.date_range(BEGIN, periods=num_rows + 10, freq="h")
    table = pd.DataFrame({"time": times, "a": np.arange(len(times)) % 24.0, "b": 1.0, "plan": 2.0})
    table.loc[num_rows:, ["a", "b"]] = np.nan
    for column, values in changes.items():
        table[column] = values
    table.to_csv(folder / "hours.csv", index=False)
    return table


def load(folder: Path, split: dict[str, Any], targets: tuple[str, ...] = ("a", "b")) -> Dataset:
    past = [column for column in ("a", "b") if column not in targets]
    stream = {
        "path": "hours.csv", "time": "time", "target": list(targets), "past": past,
        "future": ["plan"], "context_length": 4,
    }  # fmt: skip
    settings = {"root": str(folder), "horizon": 2, "streams": {"hours": stream}, "split": split}
    return load_dataset(DataConfig.model_validate(settings))


def cuts(dataset: Dataset) -> list[float]:
    """Return the four cuts in hours since the first row."""
    split, begin = dataset.split, BEGIN.value // 1000
    places = (split.begin, split.validation, split.test, split.end)
    return [(place - begin) / 3.6e9 for place in places]


@pytest.mark.parametrize(
    "split",
    [
        {"validation": 60, "test": 80},
        {"validation": 0.6, "test": 0.8},
        {"validation": "2024-03-03T12:00", "test": "2024-03-04T08:00"},
        {"validation": 60, "test": 0.8, "end": 100},
        {"validation": 60, "test": 80, "end": 100_000_000},
        {"validation": 60, "test": 80, "end": "2030-01-01"},
    ],
)
def test_rows_shares_and_times_cut_the_rows_that_hold_a_target(
    split: dict[str, Any], tmp_path: Path
) -> None:
    write_hours(tmp_path)
    assert cuts(load(tmp_path, split)) == [0, 60, 80, 100]


def test_an_end_cuts_off_what_follows(tmp_path: Path) -> None:
    write_hours(tmp_path)
    assert cuts(load(tmp_path, {"validation": 60, "test": 80, "end": 90})) == [0, 60, 80, 90]


def test_a_share_of_a_row_is_left_to_what_follows(tmp_path: Path) -> None:
    write_hours(tmp_path)
    assert cuts(load(tmp_path, {"validation": 0.609, "test": 0.809})) == [0, 60, 80, 100]


def test_the_data_run_from_the_first_to_the_last_value_of_any_target(tmp_path: Path) -> None:
    table = write_hours(tmp_path)
    table.loc[:9, ["a", "b"]] = np.nan
    table.loc[:19, "a"] = np.nan
    table.loc[90:, "b"] = np.nan
    table.to_csv(tmp_path / "hours.csv", index=False)
    split = {"validation": 0.5, "test": 0.8}
    assert cuts(load(tmp_path, split)) == [10, 55, 82, 100]
    assert cuts(load(tmp_path, split, ("b",))) == [10, 50, 74, 90]
    assert cuts(load(tmp_path, split, ("a",))) == [20, 60, 84, 100]


@pytest.mark.parametrize(
    ("split", "validation", "test"),
    [
        ({"validation": "2024-03-01", "test": 50}, "2024-03-01 00:00:00", "2024-03-03 02:00:00"),
        ({"validation": 50, "test": 50}, "2024-03-03 02:00:00", "2024-03-03 02:00:00"),
        ({"validation": 50, "test": 100}, "2024-03-03 02:00:00", "2024-03-05 04:00:00"),
    ],
)
def test_a_split_without_a_row_is_refused_with_its_dates(
    split: dict[str, Any], validation: str, test: str, tmp_path: Path
) -> None:
    write_hours(tmp_path)
    with pytest.raises(DataError) as caught:
        load(tmp_path, split)
    assert (
        f"data.split: validation at {validation} and test at {test} do not follow each other "
        "inside the data, which run from 2024-03-01 00:00:00 to 2024-03-05 04:00:00."
    ) in str(caught.value)


def test_dates_are_told_as_clocks_on_the_wall_show_them(tmp_path: Path) -> None:
    table = write_hours(tmp_path)
    table["time"] = table["time"].dt.tz_localize("UTC").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    table.to_csv(tmp_path / "hours.csv", index=False)
    dataset = load(tmp_path, {"validation": 60, "test": 80})
    assert list(dataset.split.dates(dataset.schema)) == [
        ("train", "2024-03-01T00:00:00Z", "2024-03-03T12:00:00Z"),
        ("validation", "2024-03-03T12:00:00Z", "2024-03-04T08:00:00Z"),
        ("test", "2024-03-04T08:00:00Z", "2024-03-05T04:00:00Z"),
    ]


def test_dates_are_told_in_the_zone_of_the_data(tmp_path: Path) -> None:
    write_hours(tmp_path)
    dataset = load(tmp_path, {"validation": 60, "test": 80})
    zone = {"has_time_zone": True, "time_zone": "Europe/Berlin"}
    found = list(dataset.split.dates(dataset.schema.model_copy(update=zone)))
    assert found[1] == ("validation", "2024-03-03T13:00:00+01:00", "2024-03-04T09:00:00+01:00")


def test_a_time_that_cannot_be_compared_says_where_it_stands(tmp_path: Path) -> None:
    write_hours(tmp_path)
    with pytest.raises(DataError, match=r"data\.split: 2024-03-03T12:00:00\+00:00"):
        load(tmp_path, {"validation": "2024-03-03T12:00Z", "test": 80})
