"""What `mmts init` makes of rows: their times, whose they are, and when they were known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.test_inspection import make_draft, make_stream, make_table, refusal_of

# Rows that share a time


def make_halves(**columns: tuple[object, object]) -> pd.DataFrame:
    """Make two series at the same times, told apart by columns of one value each."""
    parts = [
        make_table(300, "h", **{name: pair[place] for name, pair in columns.items()})
        for place in (0, 1)
    ]
    return pd.concat(parts, ignore_index=True)


def test_two_series_in_one_file_are_not_averaged(tmp_path: Path) -> None:
    said = refusal_of(tmp_path, make_halves(unit=(7, 8)))
    assert "column 'time': 50% of the rows share their time with another" in said
    assert "'unit' tells them apart. If it names the item, call the column 'unit_id'" in said
    assert make_stream(tmp_path, make_halves(unit_id=(7, 8))).item == "unit_id"


def test_a_series_that_shares_few_times_is_not_averaged_either(tmp_path: Path) -> None:
    said = refusal_of(tmp_path, make_halves(unit=(7, 8)).iloc[:350])
    assert "14% of the rows share" in said


@pytest.mark.parametrize("name", ["time", "clock", "hour"])
def test_two_times_of_day_in_a_column_of_their_own_are_refused(tmp_path: Path, name: str) -> None:
    days = pd.date_range("2020-01-01", periods=300).strftime("%Y-%m-%d")
    clocks = [0, 12] if name == "hour" else ["00:00", "12:00"]
    table = pd.DataFrame(
        {"date": np.repeat(days, 2), name: clocks * 300, "load": np.arange(600) % 7 + 0.5}
    )
    assert f"{name!r} holds parts of it" in refusal_of(tmp_path, table)


def test_a_part_of_the_time_that_only_repeats_it_is_no_reason_to_refuse(tmp_path: Path) -> None:
    table = make_table(600, "h")
    table = pd.concat([table, table.iloc[::10].assign(load=1.5)])
    table["hour"] = table["time"].dt.hour
    _, draft = make_draft(tmp_path, table)
    assert "60 rows share time with another: their mean is taken (duplicates: mean)" in " ".join(
        draft.found
    )


@pytest.mark.parametrize("num_kinds", [2, 3, 8])
def test_the_weather_of_doubled_rows_is_no_item(tmp_path: Path, num_kinds: int) -> None:
    kinds = np.arange(800) // 7 % num_kinds
    table = make_table(800, "h", cloud=kinds, sky=[f"weather {kind}" for kind in kinds])
    doubled = table.iloc[::8].copy()
    doubled["cloud"] = (doubled["cloud"] + 1) % num_kinds
    doubled["sky"] = [f"weather {kind}" for kind in doubled["cloud"]]
    stream = make_stream(tmp_path, pd.concat([table, doubled]))
    assert (stream.item, stream.duplicates) == (None, "mean")


def test_sites_that_never_share_a_time_are_items(tmp_path: Path) -> None:
    table = make_halves(site=("north", "south"))
    table.loc[table["site"] == "south", "time"] += pd.Timedelta("30min")
    stream = make_stream(tmp_path, table)
    assert (stream.item, stream.frequency) == ("site", pd.Timedelta("1h"))


def test_the_name_of_a_weekday_is_no_item(tmp_path: Path) -> None:
    table = make_table()
    table["day_name"] = table["time"].dt.day_name()
    assert make_stream(tmp_path, table).item is None


# Targets


def test_a_target_may_have_a_dot_in_its_name(tmp_path: Path) -> None:
    table = make_table(300, "h", other=np.arange(300) * 7 % 31)
    for values in (np.arange(300) % 3 == 0, np.arange(300) % 7, np.arange(300)):
        table["load.code"] = values.astype(int)
        stream = make_stream(tmp_path, table)
        settings, _ = make_draft(tmp_path, table, "load.code")
        assert settings["data"]["streams"]["plant"]["target"] == ["load.code"]
        assert stream.target == ("load",)
    table["load.code"] = "a"
    assert "column 'load.code': holds no numbers" in refusal_of(tmp_path, table, "load.code")


def test_a_target_that_is_named_twice_is_one(tmp_path: Path) -> None:
    settings, _ = make_draft(tmp_path, make_table(), "load", "load", "plant.load")
    assert settings["data"]["streams"]["plant"]["target"] == ["load"]


# Times


@pytest.mark.parametrize("cell", ["31.02.2023 10:00", "n/a", "05.01.2023", "01.31.2023 10:00"])
@pytest.mark.parametrize("time_formats", [(), ("%d.%m.%Y %H:%M",)])
def test_a_single_cell_that_is_no_time_is_named(
    tmp_path: Path, cell: str, time_formats: tuple[str, ...]
) -> None:
    table = make_table(500, "h")
    table["time"] = table["time"].dt.strftime("%d.%m.%Y %H:%M")
    table.loc[400, "time"] = cell
    said = refusal_of(tmp_path, table, time_formats=time_formats)
    assert f"row 402, column 'time': {cell!r} is no time as the others are" in said


@pytest.mark.parametrize("every", ["h", "6h"])
def test_a_day_that_ends_at_24_is_named_with_the_remedy(tmp_path: Path, every: str) -> None:
    table = make_table(400, every)
    table["time"] = [
        (t - pd.Timedelta("1h")).strftime("%d.%m.%Y 24:00")
        if t.hour == 0
        else t.strftime("%d.%m.%Y %H:%M")
        for t in table["time"]
    ]
    said = refusal_of(tmp_path, table)
    assert "'31.12.2022 24:00' is no time as the others are" in said
    assert "Write 24:00 as 00:00 of the next day." in said


@pytest.mark.parametrize(
    "written",
    ["%Y-%m-%dT%H", "%Y-%m-%d %H", "%Y-%m-%d %H:%M:%S+00", "%Y-%m-%d %H:%M UTC"],
)
def test_times_that_the_reader_takes_are_taken(tmp_path: Path, written: str) -> None:
    table = make_table(300, "h")
    table["time"] = table["time"].dt.strftime(written)
    settings, _ = make_draft(tmp_path, table)
    stream = settings["data"]["streams"]["plant"]
    assert (stream["frequency"], stream.get("time_format")) == ("1h", None)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([f"{1990 + n // 4}Q{n % 4 + 1}" for n in range(100)], "quarters, such as 1990Q1: write"),
        ([f"Q{n % 4 + 1} {1990 + n // 4}" for n in range(100)], "quarters, such as Q1 1990"),
        ([f"{2015 + n // 52}-W{n % 52 + 1:02}" for n in range(100)], "weeks, such as 2015-W01"),
        ([str(44197 + n) for n in range(100)], "44197, which is 2021-01-01 where a spreadsheet"),
    ],
)
def test_labels_that_are_times_to_people_say_what_to_write(
    tmp_path: Path, labels: list[str], words: str
) -> None:
    said = refusal_of(tmp_path, make_table(100).assign(time=labels))
    assert f"Column 'time' holds {words}" in said
    assert "--time-format" not in said


@pytest.mark.parametrize("every", ["MS", "ME", "BMS", "BME", "BQE", "15th"])
def test_dates_that_stand_for_their_month_are_months(tmp_path: Path, every: str) -> None:
    table = make_table(300, "MS" if every == "15th" else every)
    if every == "15th":
        table["time"] += pd.Timedelta("14D")
    settings, _ = make_draft(tmp_path, table)
    frequency = settings["data"]["streams"]["plant"]["frequency"]
    assert frequency == ("3mo" if every == "BQE" else "1mo")


def test_dates_of_any_day_of_the_month_are_none(tmp_path: Path) -> None:
    table = make_table(100, "MS")
    table["time"] += pd.to_timedelta(np.arange(100) * 7 % 25, unit="D")
    assert "a target stands on a regular grid" in refusal_of(tmp_path, table)


# Offsets, and when rows were known


def test_seconds_since_1970_state_an_offset(tmp_path: Path) -> None:
    table = make_table(300, "h")
    seconds = (table["time"] - pd.Timestamp("1970-01-01")) // pd.Timedelta("1s")
    weather = pd.DataFrame({"time": seconds, "wind": np.arange(300) * 7 % 31})
    settings, _ = make_draft(tmp_path, {"plant.csv": table, "weather.csv": weather})
    streams = settings["data"]["streams"]
    assert streams["plant"]["time_zone"] == "UTC"
    assert "time_zone" not in streams["weather"]


def test_when_a_row_was_known_is_said_where_it_is_written_unlike_the_time(tmp_path: Path) -> None:
    table = make_table(300, "h")
    table["published"] = table["time"] + pd.Timedelta("2h")
    table["time"] = table["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    settings, draft = make_draft(tmp_path, table)
    assert "available_at" not in settings["data"]["streams"]["plant"]
    for place in (draft.text, " ".join(draft.found)):
        said = " ".join(place.replace("#", "").split())
        assert "published looks like the time at which a row was known" in said


@pytest.mark.parametrize("name", ["published", "vendor_release"])
def test_the_column_that_tells_when_a_row_was_known_is_not_left_out(
    tmp_path: Path, name: str
) -> None:
    table = make_table(300, "h")
    table[name] = table["time"] + pd.Timedelta("2h")
    settings, draft = make_draft(tmp_path, table)
    assert settings["data"]["streams"]["plant"]["available_at"] == name
    assert "eft out" not in draft.text + " ".join(draft.found)
