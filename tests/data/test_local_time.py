"""Changes of clocks, leap days, and months that end on different dates."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mmts.data.batch import StreamWindow
from mmts.data.dataset import Dataset
from mmts.data.splits import SPLITS
from mmts.data.times import moment_of
from mmts.errors import DataError
from mmts.forecasting import Forecaster
from tests.data.test_detection import load, untrained

BERLIN = "Europe/Berlin"
HOUR = 3600.0


def series(times: pd.DatetimeIndex, name: str = "sales") -> pd.DataFrame:
    values = np.random.default_rng(0).normal(10, 1, len(times))
    return pd.DataFrame({"time": times, name: values})


def settings(horizon: str | int, zone: str | None = None, **streams: dict[str, Any]) -> Any:
    """Make a config whose first stream holds the target `sales`."""
    own: dict[str, dict[str, Any]] = {}
    for name, given in streams.items():
        own[name] = {"path": f"{name}.csv", "time": "time", "time_zone": zone} | given
    next(iter(own.values()))["target"] = ["sales"]
    encoders = {name: {"kind": "conv", "dim": 4, "num_layers": 1} for name in own}
    return {
        "name": "local",
        "data": {"horizon": horizon, "time_zone": zone, "streams": own},
        "model": {"encoders": encoders, "interactions": [], "head": {"kind": "point", "dim": 4}},
    }


def stamps_of(forecaster: Forecaster, rows: pd.DataFrame, origin: str | None = None) -> list[str]:
    return forecaster.predict({"sales": rows}, origin, as_text=True)["timestamp"].tolist()


def window_at(data: Dataset, origin: str, stream: str = "sales") -> StreamWindow:
    """Return the only window of one origin, whatever split it is in."""
    for split in SPLITS:
        windows = data.windows(split)
        moment = pd.Timestamp(origin).value // 1000
        found = torch.nonzero(windows.windows.origins == moment).flatten()
        if len(found):
            return windows.gather(found).streams[stream]
    raise AssertionError(f"no window at {origin}")


@pytest.fixture(scope="module")
def hourly(tmp_path_factory: pytest.TempPathFactory) -> tuple[Forecaster, pd.DataFrame]:
    rows = series(pd.date_range("2024-03-01", "2024-11-05", freq="h", tz=BERLIN))
    config = settings("6h", BERLIN, sales={"context_length": "1d"})
    return untrained(tmp_path_factory.mktemp("hourly"), {"sales": rows}, config), rows


@pytest.mark.parametrize(
    ("origin", "stamps"),
    [
        (
            "2024-03-31T00:00",
            ["2024-03-31T00:00:00+01:00", "2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00",
             "2024-03-31T04:00:00+02:00", "2024-03-31T05:00:00+02:00", "2024-03-31T06:00:00+02:00"],
        ),
        (
            "2024-10-27T00:00",
            ["2024-10-27T00:00:00+02:00", "2024-10-27T01:00:00+02:00", "2024-10-27T02:00:00+02:00",
             "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00", "2024-10-27T04:00:00+01:00"],
        ),
        (
            "2024-10-27T02:00:00+01:00",
            ["2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00", "2024-10-27T04:00:00+01:00",
             "2024-10-27T05:00:00+01:00", "2024-10-27T06:00:00+01:00", "2024-10-27T07:00:00+01:00"],
        ),
    ],
)  # fmt: skip
def test_hours_of_a_forecast_go_on_across_a_change_of_clocks(
    hourly: tuple[Forecaster, pd.DataFrame], origin: str, stamps: list[str]
) -> None:
    assert stamps_of(*hourly, origin) == stamps


def test_hours_follow_each_other_in_windows_and_cuts_are_local(tmp_path: Path) -> None:
    rows = series(pd.date_range("2024-03-20", "2024-04-10", freq="h", tz=BERLIN))
    config = settings("6h", BERLIN, sales={"context_length": "1d"})
    config["data"]["split"] = {"validation": "2024-03-31T03:00", "test": "2024-04-05"}
    data = load(tmp_path, {"sales": rows}, config)
    cut = pd.Timestamp("2024-03-31T03:00", tz=BERLIN)
    assert data.split.validation == cut.value // 1000
    assert int(data.windows("validation").windows.origins.min()) == cut.value // 1000
    window = window_at(data, "2024-03-31T06:00:00+02:00")
    assert (window.start[0] / HOUR).tolist() == list(range(-24, 0))
    assert bool(window.observed.all())


@pytest.mark.parametrize(
    ("origin", "hours"),
    [("2024-04-01T00:00+02:00", [24, 24, 23]), ("2024-10-28T00:00+01:00", [24, 24, 25])],
)
def test_local_days_are_as_long_as_they_were(
    tmp_path: Path, origin: str, hours: list[float]
) -> None:
    rows = series(pd.date_range("2024-01-01", "2024-12-31", freq="D", tz=BERLIN))
    config = settings("2d", BERLIN, sales={"context_length": "3d"})
    window = window_at(load(tmp_path, {"sales": rows}, config), origin)
    assert bool(window.observed.all())
    assert ((window.end - window.start)[0] / HOUR).tolist() == hours
    assert window.available[0, -1] == 0


@pytest.mark.parametrize(
    ("origin", "stamps"),
    [
        ("2024-03-30", ["2024-03-30T00:00:00+01:00", "2024-03-31T00:00:00+01:00",
                        "2024-04-01T00:00:00+02:00"]),
        ("2024-10-26", ["2024-10-26T00:00:00+02:00", "2024-10-27T00:00:00+02:00",
                        "2024-10-28T00:00:00+01:00"]),
        ("2024-02-28", ["2024-02-28T00:00:00+01:00", "2024-02-29T00:00:00+01:00",
                        "2024-03-01T00:00:00+01:00"]),
    ],
)  # fmt: skip
def test_a_daily_forecast_stands_at_local_midnight(
    tmp_path: Path, origin: str, stamps: list[str]
) -> None:
    rows = series(pd.date_range("2024-01-01", "2024-12-31", freq="D", tz=BERLIN))
    config = settings("3d", BERLIN, sales={"context_length": "3d"})
    assert stamps_of(untrained(tmp_path, {"sales": rows}, config), rows, origin) == stamps


@pytest.mark.parametrize("stated", [{}, {"frequency": "1d"}])
def test_a_forecast_of_gas_days_stands_at_six(tmp_path: Path, stated: dict[str, Any]) -> None:
    begins = pd.date_range("2024-01-01 06:00", "2024-12-31 06:00", freq="D", tz=BERLIN)
    rows = series(begins)
    config = settings("3d", BERLIN, sales={"context_length": "3d", **stated})
    forecaster = untrained(tmp_path, {"sales": rows}, config)
    assert str(forecaster.info.data_schema.clock) == "1d in Europe/Berlin from 06:00"
    assert stamps_of(forecaster, rows, "2024-03-30 06:00") == [
        "2024-03-30T06:00:00+01:00", "2024-03-31T06:00:00+02:00", "2024-04-01T06:00:00+02:00"
    ]  # fmt: skip
    # A day is known when it is over.
    window = window_at(load(tmp_path / "again", {"sales": rows}, config), "2024-04-02T06:00+02:00")
    assert ((window.end - window.start)[0] / HOUR).tolist() == [23, 24, 24]
    assert window.available[0, -1] == 0


@pytest.mark.parametrize("stated", [{}, {"frequency": "1d"}])
def test_days_of_24_hours_are_no_local_days_before_clocks_were_changed(
    tmp_path: Path, stated: dict[str, Any]
) -> None:
    # Midnight in Greenwich is one o'clock in Berlin, until spring.
    rows = series(pd.date_range("2023-11-05", "2024-03-20", freq="D", tz="UTC"))
    config = settings("3d", BERLIN, sales={"context_length": "3d", **stated})
    forecaster = untrained(tmp_path, {"sales": rows}, config)
    assert str(forecaster.info.data_schema.clock) == "1d"


def test_a_row_at_another_time_is_no_gas_day(tmp_path: Path) -> None:
    begins = pd.date_range("2024-01-01 06:00", "2024-12-31 06:00", freq="D", tz=BERLIN)
    rows = series(begins)
    config = settings("3d", BERLIN, sales={"context_length": "3d"})
    forecaster = untrained(tmp_path, {"sales": rows}, config)
    dates = series(begins.normalize())
    with pytest.raises(DataError, match=r"does not stand on a grid of 1d in Europe/Berlin from 06"):
        forecaster.predict({"sales": dates})


def test_weeks_stay_weeks_across_a_change_of_clocks_and_a_leap_day(tmp_path: Path) -> None:
    rows = series(pd.date_range("2022-01-03", "2024-12-30", freq="7D", tz=BERLIN))
    config = settings("14d", BERLIN, sales={"context_length": "28d"})
    forecaster = untrained(tmp_path, {"sales": rows}, config)
    assert str(forecaster.info.data_schema.clock) == "7d in Europe/Berlin"
    for origin, second in (("2024-03-25", "2024-04-01T00:00:00+02:00"),
                           ("2024-02-26", "2024-03-04T00:00:00+01:00")):  # fmt: skip
        assert stamps_of(forecaster, rows, origin)[1] == second


@pytest.mark.parametrize(
    ("times", "given", "horizon", "origin", "stamps"),
    [
        # Months, stamped at their start, with the date of their last day, and at their end.
        (pd.date_range("2018-01-01", "2024-12-01", freq="MS"), {}, "3mo", "2024-01-01",
         ["2024-01-01", "2024-02-01", "2024-03-01"]),
        (pd.date_range("2018-01-31", "2024-12-31", freq="ME"), {}, "3mo", "2024-01-01",
         ["2024-01-31", "2024-02-29", "2024-03-31"]),
        (pd.date_range("2018-02-01", "2025-01-01", freq="MS"), {"stamp": "end"}, "3mo",
         "2024-01-01", ["2024-02-01", "2024-03-01", "2024-04-01"]),
        # Quarters, likewise.
        (pd.date_range("2010-01-01", "2024-10-01", freq="QS"), {}, "6mo", "2024-01-01",
         ["2024-01-01", "2024-04-01"]),
        (pd.date_range("2010-03-31", "2024-12-31", freq="QE"), {}, "6mo", "2024-01-01",
         ["2024-03-31", "2024-06-30"]),
        (pd.date_range("2010-04-01", "2025-01-01", freq="QS"), {"stamp": "end"}, "6mo",
         "2024-01-01", ["2024-04-01", "2024-07-01"]),
        # Years.
        (pd.date_range("1980-01-01", "2024-01-01", freq="YS"), {}, "2y", "2023-01-01",
         ["2023-01-01", "2024-01-01"]),
        (pd.date_range("1980-12-31", "2024-12-31", freq="YE"), {}, "1y", "2024-01-01",
         ["2024-12-31"]),
    ],
)  # fmt: skip
def test_months_quarters_and_years_are_forecast_as_they_are_stamped(
    tmp_path: Path,
    times: pd.DatetimeIndex,
    given: dict[str, Any],
    horizon: str,
    origin: str,
    stamps: list[str],
) -> None:
    rows = series(times)
    config = settings(horizon, sales={"context_length": 4} | given)
    forecaster = untrained(tmp_path, {"sales": rows}, config)
    assert stamps_of(forecaster, rows, origin) == [f"{stamp} 00:00:00" for stamp in stamps]
    # All up to the origin is read, and nothing after it.
    known = rows[: np.searchsorted(times, pd.Timestamp(stamps[0]))]
    plain = forecaster.predict({"sales": rows}, origin)
    assert plain.equals(forecaster.predict({"sales": known}, origin))
    last = known.assign(sales=known["sales"].where(known["time"] < known["time"].max(), 1e3))
    assert not plain.equals(forecaster.predict({"sales": last}, origin))
    assert forecaster.predict({"sales": known})["origin"].unique().tolist() == [
        pd.Timestamp(origin)
    ]


def test_the_last_day_of_a_month_may_be_the_one_on_which_clocks_change(tmp_path: Path) -> None:
    ends = pd.date_range("2018-01-31", "2024-12-31", freq="ME", tz=BERLIN)
    forecaster = untrained(
        tmp_path, {"sales": series(ends)}, settings("3mo", BERLIN, sales={"context_length": "6mo"})
    )
    assert stamps_of(forecaster, series(ends), "2024-02-01") == [
        "2024-02-29T00:00:00+01:00", "2024-03-31T00:00:00+01:00", "2024-04-30T00:00:00+02:00"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("length", "steps"),
    [("6mo", 6), ("1y", 12), (9, 9), ("90d", 3)],
)
def test_a_context_of_months_is_given_in_months_steps_or_days(
    tmp_path: Path, length: str | int, steps: int
) -> None:
    rows = series(pd.date_range("2015-01-01", "2024-12-01", freq="MS"))
    data = load(tmp_path, {"sales": rows}, settings("1y", sales={"context_length": length}))
    assert (data.schema.target.context_steps, data.schema.horizon) == (steps, 12)


@pytest.mark.parametrize("cut", ["2024-06-15T12:00", "2024-06-15T00:00", "2024-06-14T23:59:59"])
@pytest.mark.parametrize("unit", ["day", "month"])
def test_no_window_begins_before_a_cut_inside_a_day_or_month(
    tmp_path: Path, cut: str, unit: str
) -> None:
    frequency, horizon, end = ("D", "3d", "2024-12-31") if unit == "day" else ("MS", "3mo", None)
    times = pd.date_range(
        "2024-01-01" if unit == "day" else "2018-01-01", end or "2027-12-01", freq=frequency,
        tz=BERLIN,
    )  # fmt: skip
    config = settings(horizon, BERLIN, sales={"context_length": 3})
    config["data"]["split"] = {"validation": cut, "test": 0.9}
    data = load(tmp_path, {"sales": series(times)}, config)
    moment = pd.Timestamp(cut, tz=BERLIN).value // 1000
    validation, train = data.windows("validation").windows, data.windows("train").windows
    first = times[times >= pd.Timestamp(cut, tz=BERLIN)][0]
    assert int(validation.origins.min()) == first.value // 1000
    ends = data.schema.step_edges(train.origins)[:, -1]
    assert bool((ends <= moment).all())
    # The last horizon that ends before the cut is trained on.
    last = times[times <= pd.Timestamp(cut, tz=BERLIN)][-1]
    assert int(ends.max()) == last.value // 1000


def test_a_report_with_a_date_alone_is_known_when_its_local_day_is_over(tmp_path: Path) -> None:
    rows = series(pd.date_range("2024-10-01", "2024-11-10", freq="h", tz=BERLIN))
    dates = pd.to_datetime(
        ["2024-10-02", "2024-10-05", "2024-10-07", "2024-10-10", "2024-10-16", "2024-10-27"]
    ).tz_localize(BERLIN)
    frames = {"sales": rows, "reports": pd.DataFrame({"time": dates, "body": list("abcdef")})}
    words = {"text": ["body"], "text_features": {"kind": "tfidf", "dim": 2},
             "context_length": "9d"}  # fmt: skip
    config = settings("3h", BERLIN, sales={"context_length": "6h"}, reports=words)
    data = load(tmp_path, frames, config)
    assert data.schema.streams["reports"].clock is None
    # That day has 25 hours.
    assert not window_at(data, "2024-10-27T23:00+01:00", "reports").observed.any()
    assert window_at(data, "2024-10-28T00:00+01:00", "reports").observed.any(-1).sum() == 1


def test_a_plan_covers_the_horizon_of_items_on_grids_of_their_own(tmp_path: Path) -> None:
    parts = []
    for item, shift in {"a": "0min", "b": "30min"}.items():
        times = pd.date_range("2024-01-01", "2024-01-20", freq="h") + pd.Timedelta(shift)
        parts.append(series(times).assign(item=item))
    plan = series(pd.date_range("2024-01-01", "2024-01-22", freq="h"), "staff")
    config = settings(
        "6h", sales={"item": "item", "context_length": "12h"},
        plan={"future": ["staff"], "context_length": "6h"},
    )  # fmt: skip
    data = load(tmp_path, {"sales": pd.concat(parts), "plan": plan}, config)
    windows = data.windows("train")
    window = windows.gather(torch.arange(len(windows))).streams["plan"]
    ends = window.end.masked_fill(~window.observed.any(-1), -torch.inf).amax(1)
    assert set(windows.windows.items.tolist()) == {0, 1}
    assert bool((ends >= 6 * HOUR).all())


def test_a_moment_that_the_clock_skips_is_refused_and_one_that_comes_twice_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(DataError, match="does not exist in Europe/Berlin"):
        moment_of(datetime(2024, 3, 31, 2, 30), True, "origin", "Europe/Berlin")
    with caplog.at_level(logging.WARNING, logger="mmts"):
        found = moment_of(datetime(2024, 10, 27, 2, 30), True, "origin", "Europe/Berlin")
    assert pd.Timestamp(found, unit="us") == pd.Timestamp("2024-10-27 00:30")
    assert "comes twice in Europe/Berlin" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="mmts"):
        late = moment_of(
            datetime(2024, 10, 27, 2, 30, tzinfo=timezone(timedelta(hours=1))),
            True,
            "origin",
            "Europe/Berlin",
        )
        moment_of(datetime(2024, 10, 27, 0, 30, tzinfo=UTC), True, "origin", None)
    assert pd.Timestamp(late, unit="us") == pd.Timestamp("2024-10-27 01:30")
    assert not caplog.text
