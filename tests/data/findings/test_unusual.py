"""What is unusual about the data is named, with place, number and remedy; what is usual is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from mmts.config import load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.findings.coverage import cover_streams
from mmts.data.findings.finding import Finding
from mmts.data.findings.unusual import find_unusual
from tests.factories import make_frames, make_settings, write_config, write_frames

Frames = dict[str, pd.DataFrame]
Change = Callable[[Frames], None]


def load(folder: Path, frames: Frames, settings: dict[str, Any] | None = None) -> Dataset:
    write_frames(folder, frames)
    return load_dataset(load_config(write_config(folder, settings or make_settings())).data)


def unusual(dataset: Dataset) -> list[Finding]:
    return list(find_unusual(dataset, cover_streams(dataset.streams, dataset.scaling)))


def test_nothing_is_unusual_about_a_usual_world(tmp_path: Path) -> None:
    assert unusual(load(tmp_path, make_frames())) == []


def set_constant(frames: Frames) -> None:
    frames["weather"]["wind"] = 3.5


def set_constant_name(frames: Frames) -> None:
    frames["plan"]["shift"] = "early"


def empty_until_late(frames: Frames) -> None:
    frames["weather"].loc[frames["weather"]["time"] < "2024-01-15", "wind"] = np.nan


def add_spike(frames: Frames) -> None:
    frames["weather"].loc[[77, 90], "wind"] = [1e6, 2e6]


def add_stand_ins(frames: Frames) -> None:
    frames["weather"].loc[40:60, "temperature"] = -999.0
    frames["weather"].loc[61:70, "temperature"] = 9999.0


def add_new_names(frames: Frames) -> None:
    plan = frames["plan"]
    plan.loc[plan["time"] >= "2024-01-15", "shift"] = "night"


def add_many_names(frames: Frames) -> None:
    frames["plan"]["shift"] = [f"shift {i}" for i in range(len(frames["plan"]))]


def end_early(frames: Frames) -> None:
    weather = frames["weather"]
    late = (weather["item"] == "south") & (weather["time"] >= "2024-01-14")
    frames["weather"] = weather[~late]


def start_late(frames: Frames) -> None:
    frames["news"] = frames["news"][frames["news"]["time"] >= "2024-01-14"]


def lie_flat(frames: Frames) -> None:
    frames["load"].loc[100:139, "load"] = 42.0


def cut_short(frames: Frames) -> None:
    load = frames["load"]
    frames["load"] = load[(load["item"] == "north") | (load["time"] >= "2024-01-12")]


def duplicate(frames: Frames) -> None:
    frames["weather"]["wind"] = frames["weather"]["temperature"]


CASES: dict[str, tuple[Change, str, str | None, tuple[str, ...]]] = {
    "constant column": (set_constant, "weather", "wind", ("is 3.5 in all of its 256 values",)),
    "no value in train": (
        empty_until_late,
        "weather",
        "wind",
        ("no value in the train split", "2024-01-15 00:00:00"),
    ),
    "spike": (
        add_spike,
        "weather",
        "wind",
        (
            "2 values far outside of the others (0.",
            "first 1000000 at 2024-01-10 15:00:00 (north)",
            "data.streams.weather.valid_range for 'wind'",
        ),
    ),
    "unseen names": (
        add_new_names,
        "plan",
        "shift",
        ("192 rows", "0 in the validation and 96 in the test split", "plan.hash_buckets"),
    ),
    "many names": (add_many_names, "plan", "shift", ("names in the train split", "hash_buckets")),
    "early end": (end_early, "weather", None, ("for 1 item (south)", "2024-01-14 00:00:00")),
    "late start": (start_late, "news", None, ("2024-01-14 00:00:00", "data.split")),
    "flat target": (
        lie_flat,
        "load",
        "load",
        ("24 steps or more in 1 place", "longest 40 steps of 42 from 2024-01-05 04:00:00 (north)"),
    ),
    "short history": (
        cut_short,
        "load",
        None,
        ("1 of 2 items", "30 steps: south", "exclude_items"),
    ),
    "duplicated column": (duplicate, "weather", "wind", ("as column 'temperature'",)),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_fault_is_found_once_and_in_its_place(tmp_path: Path, kind: str) -> None:
    change, stream, column, words = CASES[kind]
    frames = make_frames()
    change(frames)
    found = [finding for finding in unusual(load(tmp_path, frames)) if finding.kind == kind]
    assert [(f.stream, f.column) for f in found] == [(stream, column)]
    for part in words:
        assert part in str(found[0]), str(found[0])


def test_a_category_of_one_name_is_constant(tmp_path: Path) -> None:
    frames = make_frames()
    set_constant_name(frames)
    (found,) = unusual(load(tmp_path, frames))
    assert "column 'shift': is 'early' in all of its" in str(found)


def test_stand_ins_are_found_on_both_sides_and_are_no_spikes(tmp_path: Path) -> None:
    frames = make_frames()
    add_stand_ins(frames)
    first, second = unusual(load(tmp_path, frames))
    assert {first.kind, second.kind} == {"stand-in for missing"}
    assert "-999 stands in 21 rows" in first.text
    assert "first at 2024-01-06 00:00:00 (north)" in first.text
    assert "data.streams.weather.missing_values" in first.text
    assert "9999 stands in 10 rows" in second.text


def with_markers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    marked = values.astype(float)
    marked[40:160:6] = -1.0
    return marked


COUNTS = np.arange(2000) % 30
DEGREES = np.round(10 + 11.4 * np.sin(np.arange(2000) / 9))


@pytest.mark.parametrize(
    ("values", "is_told"),
    [
        pytest.param(with_markers(COUNTS), True, id="counts"),
        pytest.param(with_markers(COUNTS - 2), False, id="below zero otherwise too"),
        pytest.param(with_markers(COUNTS % 2), False, id="an indicator"),
        pytest.param(np.maximum(DEGREES, -1.0), False, id="degrees of a mild place"),
    ],
)
def test_minus_one_out_of_the_blue_is_a_stand_in(
    tmp_path: Path, values: npt.NDArray[Any], is_told: bool
) -> None:
    frames = make_frames()
    wind = values[: len(frames["weather"])]
    assert (wind == -1).sum() >= 5
    frames["weather"]["wind"] = wind
    found = [one.text for one in unusual(load(tmp_path, frames)) if one.column == "wind"]
    assert any("-1 stands in" in text for text in found) == is_told


def test_a_stand_in_that_is_named_is_usual(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    add_stand_ins(frames)
    settings["data"]["streams"]["weather"]["missing_values"] = [-999, 9999]
    assert unusual(load(tmp_path, frames, settings)) == []


def test_a_value_alone_is_a_spike_before_a_thousand_spreads(tmp_path: Path) -> None:
    frames = make_frames()
    frames["weather"].loc[77, "temperature"] = 1048.36
    (found,) = unusual(load(tmp_path, frames))
    assert "1 value far outside of the others" in found.text
    assert "first 1048.36 at" in found.text


def test_a_long_tail_is_usual(tmp_path: Path) -> None:
    frames = make_frames()
    tail = np.random.default_rng(4).lognormal(0, 1.5, len(frames["weather"]))
    frames["weather"]["wind"] = tail
    assert unusual(load(tmp_path, frames)) == []


def test_rain_that_is_mostly_none_is_usual(tmp_path: Path) -> None:
    frames = make_frames()
    random = np.random.default_rng(3)
    wet = random.random(len(frames["weather"])) < 0.1
    frames["weather"]["wind"] = np.where(wet, random.gamma(0.5, 4, len(wet)), 0.0)
    assert unusual(load(tmp_path, frames)) == []


def test_names_that_are_hashed_are_usual(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    add_many_names(frames)
    settings["data"]["streams"]["plan"]["hash_buckets"] = {"shift": 16}
    assert unusual(load(tmp_path, frames, settings)) == []


def with_availability(dataset: Dataset, hours: int) -> Dataset:
    """Return the weather with rows that say they are known so long after their period."""
    stream = dataset.streams["weather"]
    schema = stream.schema.model_copy(update={"available_at": "issued"})
    coverage = cover_streams(dataset.streams, dataset.scaling)["weather"]
    available = coverage.ends.copy()
    available[::4] += hours * 3_600_000_000
    stated = replace(stream, schema=schema, available=torch.from_numpy(available))
    streams = {**dataset.streams, "weather": stated}
    schemas = {**dataset.schema.streams, "weather": schema}
    return replace(
        dataset,
        streams=streams,
        schema=dataset.schema.model_copy(update={"streams": schemas}),
    )


def test_rows_available_before_their_period_is_over_are_counted(tmp_path: Path) -> None:
    dataset = load(tmp_path, make_frames())
    assert unusual(with_availability(dataset, 1)) == []
    (found,) = unusual(with_availability(dataset, -1))
    assert (found.kind, found.column) == ("early availability", "issued")
    assert "25.0% of the rows are available before their period is over" in found.text


@pytest.mark.parametrize(
    ("zone", "hour", "is_unusual"),
    [
        ("America/New_York", "00:00Z", True),
        ("Europe/Berlin", "00:00Z", False),
        ("America/New_York", "05:00Z", False),
    ],
)
def test_days_of_utc_beside_a_calendar_of_the_west_are_found(
    tmp_path: Path, zone: str, hour: str, is_unusual: bool
) -> None:
    random = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=60).strftime(f"%Y-%m-%dT{hour}")
    frames = {"sales": pd.DataFrame({"time": days, "sales": random.normal(size=60)})}
    settings = {
        "name": "days",
        "data": {
            "horizon": 3,
            "time_zone": zone,
            "streams": {
                "sales": {"path": "sales.csv", "time": "time", "target": ["sales"]},
                "calendar": {"calendar": ["weekday"]},
            },
        },
    }
    kinds = [finding.kind for finding in unusual(load(tmp_path, frames, settings))]
    assert kinds == (["days of UTC"] if is_unusual else [])
