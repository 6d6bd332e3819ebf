"""What `mmts init` finds in files of which nothing is known, and what it writes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmts.config_yaml import parse_yaml
from mmts.data.config import DataConfig, StreamConfig
from mmts.errors import DataError
from mmts.inspection.draft import Draft, draft_experiment
from mmts.inspection.number_marks import find_number_style
from mmts.inspection.numbers import NumberStyle, read_numbers
from mmts.inspection.yaml_lines import write_scalar
from mmts.tracking.config import TrackingConfig
from mmts.training.config import TrainingConfig
from tests.conftest import ROOT

Files = dict[str, pd.DataFrame | str | bytes]

SHARED = next(
    (f / "shared" / "data" for f in ROOT.parents if (f / "shared" / "data").is_dir()), None
)


def make_table(num_rows: int = 200, every: str = "D", **columns: Any) -> pd.DataFrame:
    """Make a table with a time, a target `load`, and what is given besides."""
    random = np.random.default_rng(0)
    times = pd.date_range("2023-01-01", periods=num_rows, freq=every)
    made = {"time": times, "load": random.normal(50, 5, num_rows).round(2)}
    return pd.DataFrame({**made, **columns})


def make_sentences(count: int) -> list[str]:
    return [f"On day {n} the plant ran as it was planned, and nothing broke." for n in range(count)]


def make_draft(
    folder: Path, files: Files | pd.DataFrame, *targets: str, **options: Any
) -> tuple[dict[str, Any], Draft]:
    """Write files, draft a config for them, and return it as it reads back, checked."""
    if isinstance(files, pd.DataFrame):
        files = {"plant.csv": files}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pd.DataFrame):
            content.to_csv(folder / name, index=False)
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            (folder / name).write_text(content)
    output = folder / "experiment.yaml"
    draft = draft_experiment(
        [folder / name for name in files], targets or ("load",), output, **options
    )
    settings = parse_yaml(draft.text, "draft")
    check_settings(settings)
    return settings, draft


def check_settings(settings: dict[str, Any]) -> DataConfig:
    TrainingConfig.model_validate(settings["training"])
    TrackingConfig.model_validate(settings["tracking"])
    return DataConfig.model_validate(settings["data"])


def make_stream(
    folder: Path, files: Files | pd.DataFrame, name: str = "plant", **options: Any
) -> StreamConfig:
    settings, _ = make_draft(folder, files, **options)
    return check_settings(settings).streams[name]


def refusal_of(folder: Path, files: Files | pd.DataFrame, *targets: str, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        make_draft(folder, files, *targets, **options)
    return str(error.value)


# Times


@pytest.mark.parametrize(
    ("written", "time_format"),
    [
        ("%Y-%m-%d %H:%M:%S", None),
        ("%Y-%m-%dT%H:%M", None),
        ("%Y/%m/%d %H:%M", None),
        ("%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M"),
        ("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M %p"),
        ("%d-%b-%Y %H:%M", "%d-%b-%Y %H:%M"),
        ("%Y%m%d%H", "%Y%m%d%H"),
        ("%d/%m/%y %H:%M:%S", "%d/%m/%y %H:%M:%S"),
    ],
)
def test_a_format_is_named_only_where_it_has_to_be(
    tmp_path: Path, written: str, time_format: str | None
) -> None:
    table = make_table(500, "h")
    table["time"] = table["time"].dt.strftime(written)
    stream = make_stream(tmp_path, table)
    assert (stream.time, stream.time_format) == ("time", time_format)


def test_unpadded_years_first_need_no_format(tmp_path: Path) -> None:
    table = make_table(300, "h")
    table["time"] = [f"{t.year}/{t.month}/{t.day} {t.hour}:00" for t in table["time"]]
    assert make_stream(tmp_path, table).time_format is None


@pytest.mark.parametrize(("unit", "size"), [("s", 1), ("ms", 1000)])
def test_seconds_since_1970_are_times(tmp_path: Path, unit: str, size: int) -> None:
    table = make_table(300, "h")
    seconds = (table["time"] - pd.Timestamp("1970-01-01")) // pd.Timedelta("1s")
    table["time"] = seconds * size
    settings, _ = make_draft(tmp_path, table)
    stream = settings["data"]["streams"]["plant"]
    assert stream["time_format"] == f"unix_{unit}"
    assert stream["frequency"] == "1h"


def test_what_nobody_can_tell_is_asked_for(tmp_path: Path) -> None:
    table = make_table(12)
    table["time"] = [f"{n:02}/{n:02}/2024" for n in range(1, 13)]
    said = refusal_of(tmp_path, table)
    assert "whether the day or the month comes first" in said
    assert "'%d/%m/%Y' or '%m/%d/%Y'" in said


@pytest.mark.parametrize("written", ["%Y-%m", "%Y/%m", "%YM%m", "%m/%Y", "%m-%Y"])
def test_a_month_may_stand_for_its_first_day(tmp_path: Path, written: str) -> None:
    table = make_table(300)
    table["time"] = pd.date_range("1749-01-01", periods=300, freq="MS").strftime(written)
    stream = make_stream(tmp_path, table)
    assert stream.time_format == written
    assert str(stream.frequency) == "1mo"


def test_a_time_format_that_is_given_decides(tmp_path: Path) -> None:
    table = make_table(60, "h")
    table["time"] = [f"{1 + n // 24:02}/03/2024 {n % 24:02}:00" for n in range(60)]
    assert "comes first" in refusal_of(tmp_path, table)
    stream = make_stream(tmp_path, table, time_formats=["%d/%m/%Y %H:%M"])
    assert stream.time_format == "%d/%m/%Y %H:%M"


def test_of_several_dates_the_one_on_a_grid_is_the_time(tmp_path: Path) -> None:
    months = pd.date_range("1990-01-01", periods=300, freq="MS")
    table = make_table(300).drop(columns="time")
    table.insert(0, "Date", months.strftime("%Y%m"))
    table["start_date"] = months
    table["end_date"] = months + pd.offsets.MonthEnd(0)
    table["date"] = months
    settings, draft = make_draft(tmp_path, table)
    stream = settings["data"]["streams"]["plant"]
    assert (stream["time"], stream["frequency"]) == ("date", "1mo")
    assert "past" not in stream
    assert "Left out: Date, start_date, end_date (dates as well)." in draft.text
    assert settings["data"]["horizon"] == 6
    assert settings["data"]["streams"]["calendar"] == {"calendar": ["month"]}


def test_a_row_without_a_time_is_named(tmp_path: Path) -> None:
    table = make_table()
    table["time"] = table["time"].astype(str)
    table.loc[7, "time"] = "soon"
    said = refusal_of(tmp_path, table)
    assert "row 9, column 'time': 'soon' is no time as the others are" in said


def test_date_and_hour_in_two_columns_are_refused_in_words(tmp_path: Path) -> None:
    table = make_table(240, "h")
    table.insert(1, "hour", table["time"].dt.hour)
    table["time"] = table["time"].dt.date
    assert "'hour' holds parts of it. Write all into one" in refusal_of(tmp_path, table)


def test_a_time_of_day_in_a_column_of_its_own_is_no_item(tmp_path: Path) -> None:
    table = make_table(240, "h")
    table.insert(1, "Time", table["time"].dt.strftime("%H.%M.%S"))
    table["time"] = table["time"].dt.date
    assert "'Time' holds parts of it" in refusal_of(tmp_path, table)


def test_local_days_with_offsets_are_asked_for_as_dates(tmp_path: Path) -> None:
    table = make_table(200)
    days = pd.date_range("2023-01-01", periods=200, tz="Europe/Berlin")
    table["time"] = [day.isoformat() for day in days]
    assert "write the dates alone" in refusal_of(tmp_path, table)


def test_times_without_an_offset_get_a_zone_beside_those_with_one(tmp_path: Path) -> None:
    other = make_table(300, "h").rename(columns={"load": "wind"})
    table = make_table(300, "h")
    table["time"] = table["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    settings, _ = make_draft(tmp_path, {"plant.csv": table, "weather.csv": other})
    assert settings["data"]["streams"]["weather"]["time_zone"] == "UTC"
    assert "time_zone" not in settings["data"]["streams"]["plant"]


# How a file is written


def test_a_european_export_is_read_as_it_is(tmp_path: Path) -> None:
    table = make_table(200).rename(columns={"load": "Größe"})
    table["Größe"] = table["Größe"].map(lambda x: f"{x * 100:,.2f}".translate({44: ".", 46: ","}))
    table["time"] = table["time"].dt.strftime("%d.%m.%Y")
    content = table.to_csv(index=False, sep=";").encode("latin-1")
    settings, _ = make_draft(tmp_path, {"plant.csv": content}, "Größe")
    stream = settings["data"]["streams"]["plant"]
    assert stream["delimiter"] == ";"
    assert (stream["decimal"], stream["thousands"]) == (",", ".")
    assert stream["encoding"] in ("latin-1", "cp1252")
    assert stream["target"] == ["Größe"]


def test_a_decimal_comma_is_told_from_thousands() -> None:
    decimal = pd.Series(["1,5", "0,25"], dtype="string")
    grouped = pd.Series(["1,500", "12,250"], dtype="string")
    found = find_number_style([decimal], ";")
    assert isinstance(found, NumberStyle)
    assert found.decimal == ","
    style = find_number_style([grouped], None)
    assert isinstance(style, NumberStyle)
    assert style.thousands == ","
    assert style.parse(grouped).tolist() == [1500, 12250]


def test_names_are_stripped_and_lines_before_the_header_skipped(tmp_path: Path) -> None:
    content = make_table().rename(columns={"load": " load "}).to_csv(index=False)
    stream = make_stream(tmp_path, {"plant.csv": "# measured at the gate\n" + content})
    assert stream.target == ("load",)


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    make_table(300, "h", is_open=[True, False] * 150).to_parquet(tmp_path / "plant.parquet")
    draft = draft_experiment([tmp_path / "plant.parquet"], ["load"], tmp_path / "e.yaml")
    stream = check_settings(parse_yaml(draft.text, "draft")).streams["plant"]
    assert stream.flag == ("is_open",)
    assert stream.time == "time"


def test_what_is_no_table_is_refused_all_at_once(tmp_path: Path) -> None:
    said = refusal_of(
        tmp_path,
        {
            "plant.csv": make_table(),
            "empty.csv": "",
            "photo.csv": b"\x89PNG\r\n\x1a\n\0\0\0",
            "page.csv": "<html><body>a, b</body></html>",
            "single.csv": "load\n1\n2\n",
            "header.csv": "time,load\n",
            "bare.csv": "1,2,3\n4,5,6\n",
            "twice.csv": "time,load,load\n2024-01-01,1,2\n",
        },
    )
    assert said.count("\n") == 6
    for words in (
        "empty.csv: the file is empty",
        "photo.csv: not a table of text but a PNG picture",
        "page.csv: not a CSV file but a web page",
        "single.csv: a single column",
        "header.csv: no row below the header",
        "bare.csv: the first row holds numbers",
        "twice.csv: 2 columns are named 'load'",
    ):
        assert words in said


def test_a_missing_file_is_told_with_the_nearest(tmp_path: Path) -> None:
    make_table().to_csv(tmp_path / "plant.csv")
    with pytest.raises(DataError, match=r"no such file; did you mean 'plant.csv'"):
        draft_experiment([tmp_path / "plants.csv"], ["load"], tmp_path / "e.yaml")


# Columns


def test_what_stands_for_no_value_is_listed_with_counts(tmp_path: Path) -> None:
    table = make_table(wind=["n/a", *map(str, range(198)), "X"], rain=[0.5, 0.7, 0.9, 0.8] * 50)
    table.loc[[3, 4, 5], "rain"] = -9999
    settings, draft = make_draft(tmp_path, table)
    stream = settings["data"]["streams"]["plant"]
    assert set(stream["missing_values"]) == {"n/a", "X", -9999}
    assert "'-9999' in 3 cells" in draft.text
    assert stream["past"] == ["wind", "rain"]


def test_a_letter_among_a_few_numbers_is_a_code(tmp_path: Path) -> None:
    stream = make_stream(tmp_path, make_table(holiday=(["0"] * 19 + ["a"]) * 10))
    assert stream.category == ("holiday",)


def test_a_peak_is_no_sentinel() -> None:
    cells = pd.Series(["1", "2", "3", "2", "999"], dtype="string")
    numbers = read_numbers(cells, NumberStyle())
    assert numbers is not None
    assert not numbers.sentinels


def test_what_teaches_nothing_is_left_out_with_the_reason(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    table = make_table()
    table = table.assign(
        site="north",
        row=range(200),
        ticket=[f"T{n:05}" for n in random.permutation(200)],
        yhat=table["load"] + random.normal(0, 1, 200),
        copy=table["load"],
        tomorrow=table["load"].shift(-1),
        month=table["time"].dt.month,
        share=[f"{n % 90}%" for n in range(200)],
        nothing="",
        yesterday=table["load"].shift(1),
    )
    settings, draft = make_draft(tmp_path, table)
    stream = settings["data"]["streams"]["plant"]
    # What the target was is known; only what it will be is a leak.
    assert stream["past"] == ["yesterday"]
    for words in (
        "Left out: site (always north).",
        "Left out: row (counts the rows).",
        "Left out: ticket (another word in nearly each row).",
        "Left out: yhat (named as a prediction by others).",
        "Left out: copy (the same as load).",
        "Left out: tomorrow (holds load of 1 row later: a leak).",
        "Left out: month (the month of the time, which the calendar tells).",
        "numbers with a unit, such as 0%; write them plain",
        "Left out: nothing (no value at all).",
    ):
        assert words in draft.text


def test_flags_categories_and_very_many_names_are_told_apart(tmp_path: Path) -> None:
    table = make_table(
        600,
        is_open=["yes", "no", "yes"] * 200,
        bit=[0, 1, 1] * 200,
        shift=["early", "late", "night"] * 200,
        weather_code=[1, 2, 30] * 200,
        driver=[f"driver {n}" for n in np.random.default_rng(0).integers(0, 150, 600)],
    )
    stream = make_stream(tmp_path, table)
    assert stream.flag == ("is_open", "bit")
    assert stream.category == ("shift", "weather_code", "driver")
    assert stream.hash_buckets == {"driver": 128}


def test_prose_has_a_stream_of_its_own_in_the_same_file(tmp_path: Path) -> None:
    table = make_table(report=make_sentences(200))
    table["end_date"] = table["time"] + pd.Timedelta("2D")
    settings, _ = make_draft(tmp_path, table)
    streams = check_settings(settings).streams
    assert streams["report"].path == streams["plant"].path == "plant.csv"
    assert streams["report"].text == ("report",)
    assert streams["report"].available_at == "end_date"
    assert streams["plant"].available_at is None
    assert "report" not in streams["plant"].past


def test_prose_alone_is_a_stream_of_events(tmp_path: Path) -> None:
    hours = np.sort(np.random.default_rng(0).integers(0, 24 * 60 * 200, 90))
    times = pd.Timestamp("2023-01-01") + pd.to_timedelta(hours, unit="min")
    news = pd.DataFrame({"time": times, "body": make_sentences(90)}).drop_duplicates("time")
    settings, _ = make_draft(tmp_path, {"plant.csv": make_table(), "news.csv": news})
    stream = settings["data"]["streams"]["news"]
    assert stream["text"] == ["body"]
    assert "frequency" not in stream
    assert "past" not in stream


def test_prose_that_was_published_is_known_from_then_on(tmp_path: Path) -> None:
    times = pd.date_range("2023-01-01 09:00", periods=60)
    news = pd.DataFrame({"published": times, "body": make_sentences(60)})
    stream = make_stream(tmp_path, {"plant.csv": make_table(1500, "h"), "news.csv": news}, "news")
    assert stream.stamp == "event"


@pytest.mark.parametrize("name", ["yes", "a: b", "12", "# x", "é", "[x]", "null", "'", '"', "a\\b"])
def test_any_name_is_written_so_that_it_reads_back(name: str) -> None:
    assert parse_yaml(f"[{write_scalar(name)}]", "test") == [name]


# Items, rates, duplicates


def make_sites(num_rows: int = 100, every: str = "h") -> pd.DataFrame:
    parts = [make_table(num_rows, every).assign(site=site) for site in ("north", "south")]
    return pd.concat(parts, ignore_index=True)


def test_the_item_is_the_column_that_tells_rows_of_one_time_apart(tmp_path: Path) -> None:
    table = make_sites().assign(shift=["early", "late"] * 100)
    settings, draft = make_draft(tmp_path, table)
    stream = settings["data"]["streams"]["plant"]
    assert stream["item"] == "site"
    assert stream["category"] == ["shift"]
    assert "200 rows of 2 items, one every 1h" in draft.text


def test_a_static_file_has_one_row_per_item(tmp_path: Path) -> None:
    site = pd.DataFrame({"place": ["north", "south"], "area": [3.5, 7.0], "hub": ["yes", "no"]})
    settings, _ = make_draft(tmp_path, {"plant.csv": make_sites(), "site.csv": site})
    stream = check_settings(settings).streams["site"]
    assert (stream.item, stream.static, stream.flag) == ("place", ("area", "hub"), ("hub",))


def test_a_file_of_items_that_the_target_lacks_is_not_used(tmp_path: Path) -> None:
    weather = make_sites(300).rename(columns={"load": "wind"})
    settings, draft = make_draft(
        tmp_path, {"plant.csv": make_table(300, "h"), "weather.csv": weather}
    )
    assert set(settings["data"]["streams"]) == {"plant", "calendar"}
    assert "several 'site' share a time, while the target has no items" in draft.text


def test_items_without_a_target_are_excluded(tmp_path: Path) -> None:
    table = make_sites()
    table.loc[table["site"] == "south", "load"] = np.nan
    settings, _ = make_draft(tmp_path, table)
    assert settings["data"]["exclude_items"] == ["south"]


def test_rows_that_come_twice_are_averaged_and_told(tmp_path: Path) -> None:
    table = make_table()
    table = pd.concat([table, table.iloc[[3, 9]].assign(load=0.0)])
    settings, draft = make_draft(tmp_path, table)
    assert settings["data"]["streams"]["plant"]["duplicates"] == "mean"
    assert "2 rows share time with another" in draft.text


def test_what_tells_a_few_doubled_rows_apart_is_no_item(tmp_path: Path) -> None:
    # Two kinds of weather in one hour, as in https://doi.org/10.24432/C5X60B, and no two places.
    kinds = [f"weather {number}" for number in range(40)]
    table = make_table(800, "h", sky=np.random.default_rng(0).permutation(kinds * 20))
    doubled = table.iloc[::8].assign(sky="fog")
    settings, draft = make_draft(tmp_path, pd.concat([table, doubled]))
    stream = settings["data"]["streams"]["plant"]
    assert "item" not in stream
    assert "sky" in stream["category"]
    assert "100 rows share time with another" in draft.text


def test_a_target_of_rare_rows_is_refused_in_words(tmp_path: Path) -> None:
    table = make_table(200, "min")
    table["time"] += pd.to_timedelta(np.arange(200) // 5, unit="D")
    assert "the rows fill less than a tenth" in refusal_of(tmp_path, table)


def test_many_rows_of_one_time_without_an_item_are_refused(tmp_path: Path) -> None:
    table = pd.concat([make_table() for _ in range(3)])
    assert "no column tells them apart" in refusal_of(tmp_path, table)


def test_two_columns_that_name_the_item_together_are_asked_to_be_one(tmp_path: Path) -> None:
    parts = [make_sites().assign(product=product) for product in ("bread", "milk")]
    said = refusal_of(tmp_path, pd.concat(parts, ignore_index=True))
    assert "'site' and 'product' tell them apart only together" in said


def test_months_that_are_stamped_at_their_end_are_months(tmp_path: Path) -> None:
    table = make_table(300)
    table["time"] = pd.date_range("1990-01-31", periods=300, freq="ME")
    settings, _ = make_draft(tmp_path, table)
    assert settings["data"]["streams"]["plant"]["frequency"] == "1mo"
    assert str(check_settings(settings).split.validation) == "2007-07-01 00:00:00"


def test_events_with_a_date_alone_are_known_when_the_day_is_over(tmp_path: Path) -> None:
    days = np.sort(np.random.default_rng(0).choice(300, 60, replace=False))
    checks = pd.DataFrame(
        {
            "date": pd.Timestamp("2023-01-01") + pd.to_timedelta(days * days, unit="D"),
            "score": np.random.default_rng(1).normal(0, 1, 60),
        }
    )
    stream = make_stream(tmp_path, {"plant.csv": make_table(), "checks.csv": checks}, "checks")
    assert stream.stamp == "event"
    assert stream.delay == pd.Timedelta("1D")


def test_of_a_very_large_file_the_first_rows_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmts.inspection.raw_table.MOST_BYTES", 1000)
    monkeypatch.setattr("mmts.inspection.raw_table.MOST_ROWS", 150)
    settings, draft = make_draft(tmp_path, make_table())
    assert "the first 150 rows looked at, the file goes on" in draft.text
    assert settings["data"]["split"] == {"validation": 0.7, "test": 0.85}


def test_gaps_and_empty_cells_are_measured(tmp_path: Path) -> None:
    wind = np.where(np.arange(200) % 4 == 0, 3.0 + np.arange(200) % 11, np.nan)
    table = make_table(200, "h", wind=wind).drop(index=[50, 51, 52])
    _, draft = make_draft(tmp_path, table)
    assert "one every 1h, 2023-01-01 to 2023-01-09, 3 rows missing." in draft.text
    assert "- wind    # 75% empty; a value every 4h" in draft.text


def test_a_target_on_no_grid_is_refused(tmp_path: Path) -> None:
    table = make_table(200, "h")
    table.loc[20:40, "time"] += pd.Timedelta("7min")
    assert "a target stands on a regular grid, and 21 of 200 rows" in refusal_of(tmp_path, table)


def test_other_numbers_on_no_grid_are_events(tmp_path: Path) -> None:
    minutes = np.sort(np.random.default_rng(0).choice(300 * 60, 80, replace=False))
    calls = pd.DataFrame(
        {
            "time": pd.Timestamp("2023-01-01") + pd.to_timedelta(minutes, unit="min"),
            "calls": np.random.default_rng(1).integers(0, 9, 80),
        }
    )
    settings, _ = make_draft(tmp_path, {"plant.csv": make_table(300, "h"), "calls.csv": calls})
    assert settings["data"]["streams"]["calls"]["stamp"] == "event"


# Roles


def test_a_forecast_is_future_and_a_plan_only_where_it_goes_on(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = make_table(300, "h")
    table["wind forecast"] = random.normal(0, 1, 300)
    table["planned"] = random.normal(0, 1, 300)
    stream = make_stream(tmp_path, table)
    assert (stream.future, stream.past) == (("wind forecast",), ("planned",))
    table.loc[276:, "load"] = np.nan
    stream = make_stream(tmp_path, table)
    assert stream.future == ("wind forecast", "planned")


def test_another_file_that_goes_on_behind_the_target_is_future(tmp_path: Path) -> None:
    files: Files = {
        "plant.csv": make_table(300, "h"),
        "tariff.csv": make_table(348, "h").rename(columns={"load": "price"}),
        "weather.csv": make_table(301, "h").rename(columns={"load": "wind"}),
        "roster.csv": make_table(300, "h").rename(columns={"load": "staff"}),
    }
    settings, draft = make_draft(tmp_path, files)
    streams = settings["data"]["streams"]
    assert streams["tariff"]["future"] == ["price"]
    assert streams["weather"]["past"] == ["wind"]
    assert streams["roster"]["future"] == ["staff"]
    assert "a wrong future is a leak" in " ".join(draft.found)


def test_a_missing_target_is_answered_with_the_columns_of_numbers(tmp_path: Path) -> None:
    table = make_table(wind=np.arange(200) % 7 + 0.5, shift=["early", "late"] * 100)
    said = refusal_of(tmp_path, table, "lod")
    assert "--target lod: no such column; did you mean 'load'?" in said
    assert said.endswith("plant.csv: load, wind")
    with pytest.raises(DataError, match="no target: name the column"):
        draft_experiment([tmp_path / "plant.csv"], [], tmp_path / "e.yaml")
    assert "column 'shift': holds no numbers" in refusal_of(tmp_path, table, "shift")


def test_a_packed_file_gives_its_own_name(tmp_path: Path) -> None:
    make_table().to_csv(tmp_path / "plant.csv.xz", index=False)
    draft = draft_experiment([tmp_path / "plant.csv.xz"], ["load"], tmp_path / "e.yaml")
    assert "name: plant-load" in draft.text
    assert "\n    plant:\n" in draft.text


def test_a_file_without_times_is_told_from_one_without_numbers(tmp_path: Path) -> None:
    make_table(shift=1.0).drop(columns="time").to_csv(tmp_path / "plant.csv", index=False)
    with pytest.raises(DataError, match=r"none, as no column tells times\. 'load' holds"):
        draft_experiment([tmp_path / "plant.csv"], [], tmp_path / "e.yaml")


def test_the_only_column_of_numbers_is_the_target(tmp_path: Path) -> None:
    make_table(shift=["early", "late"] * 100).to_csv(tmp_path / "plant.csv", index=False)
    draft = draft_experiment([tmp_path / "plant.csv"], [], tmp_path / "e.yaml")
    assert "target: [load]" in draft.text


def test_a_target_in_two_files_is_asked_for(tmp_path: Path) -> None:
    files: Files = {"a.csv": make_table(), "b.csv": make_table()}
    assert "stands in 2 files. Write a.load or b.load." in refusal_of(tmp_path, files)
    settings, _ = make_draft(tmp_path, files, "b.load")
    assert settings["data"]["streams"]["b"]["target"] == ["load"]
    assert settings["data"]["streams"]["a"]["past"] == ["load"]


# Lengths


@pytest.mark.parametrize(
    ("every", "horizon", "context"),
    [("15min", "24h", "1w"), ("h", "24h", "1w"), ("D", 7, "8w"), ("7D", 4, "52w"), ("MS", 6, "3y")],
)
def test_horizon_and_context_suit_the_rate(
    tmp_path: Path, every: str, horizon: str | int, context: str
) -> None:
    settings, _ = make_draft(tmp_path, make_table(4000 if every != "MS" else 480, every))
    assert settings["data"]["horizon"] == horizon
    assert settings["data"]["streams"]["plant"]["context_length"] == context


def test_a_short_series_leaves_windows_to_learn_from(tmp_path: Path) -> None:
    settings, _ = make_draft(tmp_path, make_table(60))
    # 42 rows of train: seven of context and seven of horizon leave 29 windows.
    assert settings["data"]["horizon"] == 7
    assert settings["data"]["streams"]["plant"]["context_length"] == "1w"
    assert settings["training"]["batch_size"] == 16
    assert settings["model"]["encoders"]["plant"]["dim"] == 32


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    assert "15 rows from the first to the last value" in refusal_of(tmp_path, make_table(15))
    assert "or a shorter horizon" in refusal_of(tmp_path, make_table(100), horizon="30d")


def test_a_horizon_off_the_grid_is_refused(tmp_path: Path) -> None:
    assert "has one every 1d. Write a multiple" in refusal_of(tmp_path, make_table(), horizon="36h")
    assert "not a length" in refusal_of(tmp_path, make_table(), horizon="soon")
    settings, _ = make_draft(tmp_path, make_table(), horizon="2w")
    assert settings["data"]["horizon"] == 14


def test_the_split_is_written_as_dates_of_the_target(tmp_path: Path) -> None:
    table = make_table(1000, "D")
    table.loc[500:, "load"] = np.nan
    settings, _ = make_draft(tmp_path, table)
    split = check_settings(settings).split
    assert str(split.validation) == str(table["time"][350])
    assert str(split.test) == str(table["time"][425])


def test_a_context_of_another_rate_holds_enough_rows_and_not_too_many(tmp_path: Path) -> None:
    files: Files = {
        "plant.csv": make_table(400, "D"),
        "weekly.csv": make_table(20, "MS").rename(columns={"load": "index"}),
        "fine.csv": make_table(9600, "h").rename(columns={"load": "wind"}),
    }
    settings, _ = make_draft(tmp_path, files)
    streams = settings["data"]["streams"]
    assert streams["weekly"]["context_length"] == 8
    assert streams["fine"]["context_length"] == "4w"


def test_the_calendar_tells_only_what_the_train_split_has_seen(tmp_path: Path) -> None:
    short, _ = make_draft(tmp_path, make_table(300, "h"))
    assert short["data"]["streams"]["calendar"]["calendar"] == ["time_of_day", "weekday"]
    long, _ = make_draft(tmp_path, make_table(900))
    assert long["data"]["streams"]["calendar"]["calendar"] == ["weekday", "time_of_year"]


# Places


def test_paths_are_seen_from_the_folder_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "configs").mkdir()
    file = tmp_path / "data" / "plant.csv"
    make_table().to_csv(file, index=False)
    away = draft_experiment([file], ["load"], tmp_path / "configs" / "e.yaml")
    settings = parse_yaml(away.text, "draft")
    assert settings["data"]["root"] == "../data"
    assert settings["data"]["streams"]["plant"]["path"] == "plant.csv"
    above = parse_yaml(draft_experiment([file], ["load"], tmp_path / "e.yaml").text, "draft")
    assert "root" not in above["data"]
    assert above["data"]["streams"]["plant"]["path"] == "data/plant.csv"


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files: Files = {"a/plant.csv": make_table(), "b/plant.csv": make_table()}
    settings, _ = make_draft(tmp_path, files, "b_plant.load")
    assert {"a_plant", "b_plant"} <= set(settings["data"]["streams"])


# Real files


@pytest.mark.parametrize(
    ("files", "target", "found"),
    [
        (["ett/ETTh1.csv"], "OT", {"ETTh1", "calendar"}),
        (["ett/ETTm1.csv"], "OT", {"ETTm1", "calendar"}),
        (["epf/NP.csv"], "OT", {"NP", "calendar"}),
        (["epf/DE.csv"], "OT", {"DE", "calendar"}),
        (["time_mmd/Climate.csv"], "OT", {"Climate", "fact", "calendar"}),
        (["time_mmd/Energy.csv"], "OT", {"Energy", "fact", "calendar"}),
        (["time_mmd/Health.csv"], "OT", {"Health", "fact", "calendar"}),
        (
            ["epa_air/Denver/time_series.csv", "epa_air/Denver/text.csv"],
            "temp",
            {"time_series", "text", "calendar"},
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_real_files_get_a_config_that_is_valid(
    tmp_path: Path, files: list[str], target: str, found: set[str]
) -> None:
    if SHARED is None:
        pytest.skip("the benchmark data are not here")
    draft = draft_experiment([SHARED / name for name in files], [target], tmp_path / "e.yaml")
    data = check_settings(parse_yaml(draft.text, "draft"))
    assert set(data.streams) == found
    if "NP" in found:
        assert data.streams["NP"].future == ("Grid load forecast", "Wind power forecast")
    if "fact" in found:
        assert data.streams["fact"].available_at == "end_date"
        assert "preds" not in data.streams[data.target_stream].past
    if "Health" in found:
        assert data.streams["Health"].missing_values == ("X",)
        assert data.streams["Health"].duplicates == "mean"
