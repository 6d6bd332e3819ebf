"""Forecasts from a checkpoint and data frames."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmts.errors import DataError
from mmts.forecast_table import times_as_text
from mmts.forecasting import Forecaster, choose_sources
from tests.conftest import ROOT
from tests.factories import (
    DAYS,
    ITEMS,
    START,
    make_frames,
    make_settings,
    write_config,
    write_frames,
)
from tests.test_evaluation import make_forecaster

END = START + pd.Timedelta(days=DAYS)


def test_the_default_origin_is_the_end_of_what_is_known_of_each_item(
    forecaster: Forecaster,
) -> None:
    frames = make_frames()
    load = frames["load"]
    frames["load"] = load[(load["item"] == "north") | (load["time"] < END - pd.Timedelta("5h"))]
    forecast = forecaster.predict(frames)
    origins = forecast.groupby("item_id")["origin"].unique().explode()
    assert origins.to_dict() == {"north": END, "south": END - pd.Timedelta("5h")}


def test_the_forecast_is_long_and_in_the_order_of_the_design(forecaster: Forecaster) -> None:
    forecast = forecaster.predict(make_frames())
    columns = ["item_id", "origin", "timestamp", "step", "target", "0.1", "0.5", "0.9"]
    assert list(forecast.columns) == columns
    assert forecast["item_id"].unique().tolist() == list(ITEMS)
    assert forecast["step"].tolist() == [1, 2, 3, 4, 5, 6] * 2
    assert forecast["timestamp"].iloc[0] == forecast["origin"].iloc[0]
    assert set(forecast["target"]) == {"load"}
    assert (forecast["0.1"] <= forecast["0.5"]).all()
    assert (forecast["0.5"] <= forecast["0.9"]).all()
    assert forecast["0.5"].between(0, 150).all()


def test_rows_with_no_value_yet_do_not_move_the_origin(forecaster: Forecaster) -> None:
    frames = make_frames()
    extra = frames["load"].groupby("item").tail(3).copy()
    extra["time"] += pd.Timedelta("3h")
    extra[["load", "staff"]] = None
    appended = {**frames, "load": pd.concat([frames["load"], extra])}
    pd.testing.assert_frame_equal(forecaster.predict(frames), forecaster.predict(appended))


def test_a_stream_left_out_still_gives_a_forecast_and_says_so(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    full = forecaster.predict(frames)
    with caplog.at_level(logging.WARNING, "mmts"):
        del frames["weather"], frames["news"]
        forecast = forecaster.predict(frames)
    assert len(forecast) == len(full)
    assert not forecast.equals(full)
    assert "stream 'weather' is left out" in caplog.text
    assert "stream 'news' is left out" in caplog.text


def test_a_future_that_ends_early_is_told(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    plan = frames["plan"]
    frames["plan"] = plan[plan["time"] < END + pd.Timedelta("2h")]
    with caplog.at_level(logging.WARNING, "mmts"):
        forecaster.predict(frames)
    assert (
        "stream 'plan': 8 of 12 rows over the horizon are not known, of 2 of 2 forecasts (north, "
        "south): forecasting without them"
    ) in caplog.text


def warnings_of(
    forecaster: Forecaster,
    frames: dict[str, pd.DataFrame],
    caplog: pytest.LogCaptureFixture,
    origin: str | None = None,
) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mmts"):
        forecaster.predict(frames, origin)
    return [record.message for record in caplog.records]


def test_of_whole_and_usual_data_nothing_is_said(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    assert warnings_of(forecaster, make_frames(), caplog) == []


@pytest.mark.parametrize(("hours", "is_told"), [(5, False), (6, True)])
def test_an_item_that_ends_a_horizon_before_the_others_is_told(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture, hours: int, is_told: bool
) -> None:
    frames = make_frames()
    load = frames["load"]
    late = END - pd.Timedelta(hours=hours)
    frames["load"] = load[(load["item"] == "north") | (load["time"] < late)]
    said = warnings_of(forecaster, frames, caplog)
    expected = (
        f"south ends a whole horizon or more before the last item: each is forecast from its own "
        f"end, from {late} to {END}. Name an origin to have all from one moment"
    )
    assert said == ([expected] if is_told else [])


def test_numbers_in_other_units_are_told(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    south = frames["load"]["item"] == "south"
    frames["load"].loc[south, "load"] *= 100
    (said,) = warnings_of(forecaster, frames, caplog)
    assert said.startswith("stream 'load': a quarter or more of the numbers in column 'load' lies")
    assert said.endswith("in training, for 1 of 2 forecasts (south). Are these other units?")
    # A few odd values are none.
    frames = make_frames()
    frames["load"].loc[frames["load"].index[-2:], "load"] *= 100
    assert warnings_of(forecaster, frames, caplog) == []


def test_names_that_training_did_not_have_are_told(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    frames["plan"]["shift"] = frames["plan"]["shift"].str.upper()
    (said,) = warnings_of(forecaster, frames, caplog)
    assert said == (
        "stream 'plan': a quarter or more of the names in column 'shift' are none of the "
        "training's, for 2 of 2 forecasts (north, south): they are all read as one unknown name. "
        "Are they written otherwise?"
    )
    # One new name among many is none of that.
    frames = make_frames()
    frames["plan"].loc[frames["plan"].index[-1], "shift"] = "strike"
    assert warnings_of(forecaster, frames, caplog) == []


def test_what_was_far_out_in_training_is_usual(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # One large item among small ones.
    frames, settings = make_frames(tuple(f"i{n}" for n in range(150))), make_settings()
    frames["load"].loc[frames["load"]["item"] == "i7", "load"] *= 1000
    write_frames(tmp_path, frames)
    forecaster, _ = make_forecaster(write_config(tmp_path, settings))
    assert not [said for said in warnings_of(forecaster, frames, caplog) if "units" in said]


def test_a_column_without_a_value_is_told(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    frames["weather"]["wind"] = np.nan
    said = warnings_of(forecaster, frames, caplog)
    assert said == ["stream 'weather', column 'wind' holds nothing: forecasting without it"]


def test_a_past_shorter_than_any_of_training_is_told(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    steps = forecaster.info.data_schema.target.context_steps
    for hours, is_told in ((steps, False), (steps - 1, True)):
        origin = START + pd.Timedelta(hours=hours)
        said = warnings_of(forecaster, make_frames(), caplog, str(origin))
        expected = (
            f"2 of 2 forecasts (north, south) have less than a whole context behind them, the "
            f"shortest {hours} of {steps} steps: no window of the training was as short"
        )
        assert (expected in said) == is_told


def test_items_that_the_target_does_not_have_are_told_once(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    frames["load"] = frames["load"].replace({"item": {"north": "North "}})
    said = warnings_of(forecaster, frames, caplog)
    streams = ", ".join(name for name in frames if name not in ("load", "news"))
    assert (
        f"stream 'load' has no row of item north (did you mean 'North'?): left out of {streams}"
        in said
    )


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("yesterday", "is no time"),
        ("2024-01-05T07:30", "Take 2024-01-05 07:00:00 or 2024-01-05 08:00:00"),
        ("2025-01-01", "lies outside what item 'north' can be forecast from"),
        ("2023-01-01", "lies outside"),
        ("01/02/2024", "is no time"),
        ("2024-01-05T07:00+05:00", "states a UTC offset, and the data do not"),
    ],
)
def test_an_impossible_origin_is_refused(forecaster: Forecaster, origin: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        forecaster.predict(make_frames(), origin)
    assert words in str(caught.value)


def test_a_renamed_column_is_named(forecaster: Forecaster) -> None:
    frames = make_frames()
    frames["weather"] = frames["weather"].rename(columns={"temperature": "temprature"})
    with pytest.raises(
        DataError, match=r"- temperature .*\n.*\+ temprature .*did you mean 'temperature'"
    ):
        forecaster.predict(frames)


def test_an_unknown_or_missing_target_stream_is_refused(forecaster: Forecaster) -> None:
    frames = make_frames()
    with pytest.raises(DataError, match="no stream 'wether'; did you mean 'weather'"):
        forecaster.predict({**frames, "wether": frames["weather"]})
    del frames["load"]
    with pytest.raises(DataError, match="which holds the target"):
        forecaster.predict(frames)


def test_times_with_an_offset_are_refused_by_a_model_trained_without(
    forecaster: Forecaster,
) -> None:
    frames = make_frames()
    frames["weather"]["time"] = frames["weather"]["time"].dt.tz_localize("UTC")
    with pytest.raises(DataError, match="had no UTC offset"):
        forecaster.predict(frames)


def test_rows_off_the_grid_are_refused(forecaster: Forecaster) -> None:
    frames = make_frames()
    frames["load"].loc[7, "time"] += pd.Timedelta("10min")
    with pytest.raises(DataError, match="does not stand on a grid of 1h"):
        forecaster.predict(frames)


def test_an_unseen_category_and_a_new_item_are_forecast(forecaster: Forecaster) -> None:
    frames = {name: frame.copy() for name, frame in make_frames(("west",)).items()}
    frames["plan"]["shift"] = "night"
    assert forecaster.predict(frames)["item_id"].unique().tolist() == ["west"]


def test_sources_are_changed_and_left_out_by_name(forecaster: Forecaster) -> None:
    sources = choose_sources(forecaster, ["weather=new.csv", "news="])
    assert sources["weather"] == "new.csv"
    assert "news" not in sources
    with pytest.raises(DataError) as caught:
        choose_sources(forecaster, ["weather", "wether=x.csv"])
    with pytest.raises(DataError, match=r"--data weather=\.\.\.: given more than once"):
        choose_sources(forecaster, ["weather=x.csv", "plan=y.csv", "weather="])
    assert "write it as stream=file.csv" in str(caught.value)
    assert "did you mean 'weather'?" in str(caught.value)


def test_what_is_made_from_the_calendar_takes_no_data() -> None:
    forecaster = Forecaster.from_checkpoint(ROOT / "tests" / "checkpoints" / "format_11.mmts")
    said = "stream 'calendar' is made from the calendar and takes no data"
    with pytest.raises(DataError, match=said):
        choose_sources(forecaster, ["calendar=x.csv"])
    frames = make_frames()
    with pytest.raises(DataError, match=said):
        forecaster.predict({**frames, "calendar": frames["weather"]})


def test_an_origin_possible_for_some_items_is_forecast_for_those(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    load = frames["load"]
    frames["load"] = load[(load["item"] == "north") | (load["time"] < END - pd.Timedelta("5D"))]
    with caplog.at_level(logging.WARNING, "mmts"):
        forecast = forecaster.predict(frames, str(END - pd.Timedelta("1D")))
    assert forecast["item_id"].unique().tolist() == ["north"]
    assert "no forecast: origin" in caplog.text


def test_items_that_another_stream_does_not_know_are_told(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    frames["weather"]["item"] = frames["weather"]["item"].str.upper()
    with caplog.at_level(logging.WARNING, "mmts"):
        forecaster.predict(frames)
    assert "stream 'weather' has no row of item north, south" in caplog.text


def test_rolling_forecasts_are_those_from_each_origin_alone(forecaster: Forecaster) -> None:
    frames = make_frames()
    load = frames["load"]
    frames["load"] = load[(load["item"] == "north") | (load["time"] < END - pd.Timedelta("30h"))]
    # The first does not stand on the grid; south ends on the way, and weather steps in between.
    begin, until = END - pd.Timedelta("35h30min"), END - pd.Timedelta("28h")
    rolling = forecaster.predict(frames, begin, until)
    moments = pd.date_range(END - pd.Timedelta("35h"), until, freq="h")
    alone = pd.concat([forecaster.predict(frames, str(moment)) for moment in moments])
    expected = alone.sort_values(["item_id", "origin", "step"], ignore_index=True)
    pd.testing.assert_frame_equal(rolling, expected, rtol=1e-4)
    assert rolling.groupby("item_id")["origin"].nunique().to_dict() == {"north": 8, "south": 6}


def test_rolling_forecasts_without_any_origin_are_refused(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    with pytest.raises(DataError, match=r"no item is known at an origin from .* Move the two\."):
        forecaster.predict(frames, "2030-01-01", "2030-01-02")
    with pytest.raises(DataError, match="give the origin"):
        forecaster.predict(frames, until="2024-01-10")
    with pytest.raises(DataError, match="until 'soon' is no time"):
        forecaster.predict(frames, "2024-01-10", "soon")
    load = frames["load"]
    frames["load"] = load[(load["item"] == "north") | (load["time"] < "2024-01-05")]
    with caplog.at_level(logging.WARNING):
        forecast = forecaster.predict(frames, "2024-01-10", "2024-01-10T03:00")
    assert set(forecast["item_id"]) == {"north"}
    assert "item 'south' is not known from 2024-01-10 to" in caplog.text


def test_times_and_items_come_back_as_the_frame_has_them(forecaster: Forecaster) -> None:
    frames = make_frames()
    numbers = {"north": 1, "south": 2}
    for name in ("load", "weather", "plan", "site"):
        frames[name]["item"] = frames[name]["item"].map(numbers)
    forecast = forecaster.predict(frames, "2024-01-10")
    assert forecast["item_id"].tolist() == [1] * 6 + [2] * 6
    merged = frames["load"].merge(
        forecast, left_on=["item", "time"], right_on=["item_id", "timestamp"]
    )
    assert len(merged) == len(forecast)
    written = forecaster.predict(frames, "2024-01-10", as_text=True)
    assert written["timestamp"].tolist() == forecast["timestamp"].astype(str).tolist()
    assert written["item_id"].tolist() == ["1"] * 6 + ["2"] * 6
    pd.testing.assert_frame_equal(times_as_text(forecast).iloc[:, 1:], written.iloc[:, 1:])


def test_times_given_as_text_come_back_as_text(forecaster: Forecaster, tmp_path: Path) -> None:
    frames = make_frames()
    write_frames(tmp_path, frames)
    files = {name: tmp_path / f"{name}.csv" for name in frames}
    read = {name: pd.read_csv(file) for name, file in files.items()}
    from_files, from_text = forecaster.predict(files), forecaster.predict(read)
    pd.testing.assert_frame_equal(from_files, from_text)
    assert from_files["timestamp"].iloc[0] == str(END)
    pd.testing.assert_frame_equal(from_files, forecaster.predict(frames, as_text=True))


def test_rows_may_come_in_any_order(forecaster: Forecaster) -> None:
    frames = make_frames()
    shuffled = {name: frame.sample(frac=1, random_state=0) for name, frame in frames.items()}
    forecast = forecaster.predict(shuffled).sort_values(["item_id", "step"], ignore_index=True)
    pd.testing.assert_frame_equal(forecast, forecaster.predict(frames), rtol=1e-5)


def test_several_origins_are_those_from_each_alone(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    load = frames["load"]
    frames["load"] = load[(load["item"] == "north") | (load["time"] < "2024-01-10")]
    # Once each, in order, whatever they are written as.
    origins = ["2024-01-12T06:00", np.datetime64("2024-01-09"), date(2024, 1, 9)]
    forecast = forecaster.predict(frames, origins)
    alone = pd.concat([forecaster.predict(frames, origin) for origin in origins[:2]])
    expected = alone.sort_values(["item_id", "origin", "step"], ignore_index=True)
    pd.testing.assert_frame_equal(forecast, expected, rtol=1e-4)
    assert forecast.groupby("item_id")["origin"].nunique().to_dict() == {"north": 2, "south": 1}
    assert (
        "origin 2024-01-12T06:00 lies outside what item 'south' can be forecast from" in caplog.text
    )
    moments = pd.DatetimeIndex(["2024-01-09", "2024-01-12T06:00"])
    for same in (moments, pd.Series(moments), moments.to_numpy()):
        pd.testing.assert_frame_equal(forecaster.predict(frames, same), forecast)


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ([], "the list is empty"),
        (["2024-01-10", "soon"], "origin 'soon' is no time"),
        (pd.NaT, "is no time"),
        (7, "is no time"),
        (["2030-01-01", "2024-01-05T07:30"], "does not stand on the grid"),
    ],
)
def test_impossible_origins_are_refused(forecaster: Forecaster, origin: object, words: str) -> None:
    with pytest.raises(DataError) as caught:
        forecaster.predict(make_frames(), origin)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_until_goes_with_one_origin(forecaster: Forecaster) -> None:
    with pytest.raises(DataError, match="a single one"):
        forecaster.predict(make_frames(), ["2024-01-10", "2024-01-11"], "2024-01-12")


def test_a_stream_that_is_none_is_left_out(forecaster: Forecaster) -> None:
    frames = make_frames()
    without = {name: frame for name, frame in frames.items() if name != "weather"}
    forecast = forecaster.predict({**frames, "weather": None})
    pd.testing.assert_frame_equal(forecast, forecaster.predict(without))


def test_a_frame_alone_is_told_how_to_be_given(forecaster: Forecaster) -> None:
    with pytest.raises(DataError, match=r"DataFrame is no mapping\. .* \{'load': \.\.\.\}"):
        forecaster.predict(make_frames()["load"])  # type: ignore[arg-type]


def test_the_columns_that_are_read_are_listed(forecaster: Forecaster) -> None:
    listed = forecaster.describe_streams()
    frames = make_frames()
    for name, rows in listed.groupby("stream"):
        assert set(rows["column"]) == set(frames[str(name)].columns)
    roles = listed.set_index(["stream", "column"])["role"]
    assert roles["load", "time"] == "time"
    assert roles["load", "item"] == "item"
    assert roles["load", "load"] == "target"
    assert roles["plan", "shift"] == "future"
    assert roles["site", "area"] == "static"


def test_a_forecaster_says_what_it_forecasts(forecaster: Forecaster) -> None:
    assert repr(forecaster) == (
        "<Forecaster of load, 6 steps of 1h ahead (0.1, 0.5, 0.9), from load, weather, plan, "
        "news, site>"
    )


def test_a_value_too_large_for_any_arithmetic_is_told_and_counts_as_missing(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    frames, without = make_frames(), make_frames()
    last = frames["weather"].index[-1]
    frames["weather"].loc[last, "wind"], without["weather"].loc[last, "wind"] = 1e60, float("nan")
    with caplog.at_level(logging.WARNING, "mmts"):
        found = forecaster.predict(frames)
    (said,) = [one for one in caplog.messages if "too large" in one]
    assert "'wind': 1e+60" in said
    pd.testing.assert_frame_equal(found, forecaster.predict(without))
