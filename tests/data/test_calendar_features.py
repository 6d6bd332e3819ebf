"""Features of the calendar: right on leap days, around New Year and where clocks are changed."""

from __future__ import annotations

import logging
import math
from datetime import date, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmts.data.calendar_features import (
    build_calendar,
    calendar_columns,
    check_holidays,
    vocabularies,
)
from mmts.data.clock import DAY, Clock
from mmts.data.config import CalendarFeature
from mmts.data.table import Table, Words
from mmts.errors import ConfigError
from tests.test_house import loaded_after

HOUR = DAY // 24
HOURLY, MONTHLY = Clock(every=HOUR), Clock(every=1, unit="month")
FEATURES: tuple[CalendarFeature, ...] = get_args(CalendarFeature)


def moments(*texts: str) -> npt.NDArray[np.int64]:
    return np.array(texts, dtype="datetime64[us]").astype(np.int64)


def on_clock(clock: Clock, first: str, rows: int) -> tuple[npt.NDArray[np.int64], ...]:
    edges = clock.advance(torch.tensor(moments(first)), torch.arange(rows + 1)).numpy()
    return edges[:-1], edges[1:]


def build(
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64] | None = None,
    zone: str | None = None,
    holidays: str | None = "US",
    has_time_zone: bool = True,
) -> Table:
    ends = starts + HOUR if ends is None else ends
    return build_calendar(FEATURES, holidays, starts, ends, has_time_zone, zone)


def names(table: Table, column: str) -> list[str]:
    words = table.words(column)
    return [words.words[code] for code in words.codes]


def test_a_leap_day_has_its_own_names() -> None:
    table = build(moments("2024-02-29T13:00", "2024-03-01T00:00"))
    assert names(table, "day") == ["29", "01"]
    assert names(table, "month") == ["Feb", "Mar"]
    assert names(table, "weekday") == ["Thu", "Fri"]
    assert names(table, "hour") == ["13", "00"]


def test_weeks_around_new_year_are_those_of_iso_8601() -> None:
    days = [date(year, 12, 25) + timedelta(n) for year in range(1998, 2030) for n in range(14)]
    table = build(moments(*map(str, days)))
    assert names(table, "week") == [f"{day.isocalendar().week:02}" for day in days]
    assert {"52", "53", "01"} <= set(names(table, "week"))


@settings(deadline=None)
@given(st.datetimes(datetime(1600, 1, 1), datetime(2400, 1, 1)))
@example(datetime(1969, 12, 31, 23, 59, 59, 999_999))
def test_every_name_is_that_of_python(moment: datetime) -> None:
    table = build(moments(moment.isoformat()), has_time_zone=False)
    found = [names(table, column)[0] for column in ("hour", "weekday", "day", "week", "month")]
    week = f"{moment.isocalendar().week:02}"
    assert found == [f"{moment:%H}", f"{moment:%a}", f"{moment:%d}", week, f"{moment:%b}"]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2024-03-31", [0, 1, *range(3, 24)]),
        ("2024-10-27", [0, 1, 2, *range(2, 24)]),
    ],
)
def test_a_day_on_which_clocks_are_changed_shows_what_clocks_show(
    day: str, expected: list[int]
) -> None:
    zone = "Europe/Berlin"
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    first = int(midnight.timestamp()) * 1_000_000
    hours = names(build(first + HOUR * np.arange(len(expected)), zone=zone), "hour")
    assert hours == [f"{hour:02}" for hour in expected]
    daily = Clock(every=1, unit="day", time_zone=zone)
    edges = daily.advance(torch.tensor(first), torch.arange(3)).numpy()
    table = build(edges[:-1], edges[1:], zone)
    assert edges[1] - edges[0] == len(expected) * HOUR
    assert names(table, "hour") == ["00", "00"]
    np.testing.assert_array_equal(table.numbers("time_of_day_cos"), 1)


def test_the_zone_moves_the_calendar_of_utc_and_leaves_naive_times_alone() -> None:
    late = moments("2023-12-31T23:30")
    in_berlin = build(late, zone="Europe/Berlin", holidays="DE")
    assert (names(in_berlin, "month"), names(in_berlin, "hour")) == (["Jan"], ["00"])
    assert in_berlin.numbers("holiday")[0] == 1
    for table in (
        build(late, zone="Europe/Berlin", holidays="DE", has_time_zone=False),
        build(late, zone=None, holidays="DE"),
    ):
        assert (names(table, "month"), names(table, "hour")) == (["Dec"], ["23"])
        assert table.numbers("holiday")[0] == 0


def test_times_are_kept_as_they_came() -> None:
    starts = moments("2024-01-01", "2024-01-02")
    table = build(starts, zone="Europe/Berlin")
    assert table.items is None
    assert len(table) == 2
    assert table.has_time_zone
    np.testing.assert_array_equal(table.times, starts)


def test_the_circle_of_the_year_is_gone_round_once_in_leap_years_too() -> None:
    for year, days in ((2023, 365), (2024, 366)):
        starts, ends = on_clock(Clock(every=DAY), f"{year}-01-01", days)
        table = build(starts, ends)
        sine, cosine = table.numbers("time_of_year_sin"), table.numbers("time_of_year_cos")
        angle = np.unwrap(np.arctan2(sine, cosine))
        np.testing.assert_allclose(angle, 2 * math.pi * np.arange(days) / days, atol=1e-9)


def test_the_circle_of_the_day_starts_at_midnight() -> None:
    table = build(moments("2024-05-01T00:00", "2024-05-01T06:00", "2024-05-01T12:00"))
    np.testing.assert_allclose(table.numbers("time_of_day_sin"), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(table.numbers("time_of_day_cos"), [1, 0, -1], atol=1e-12)


@pytest.mark.parametrize(
    ("place", "day", "expected"),
    [
        ("US", "2024-07-04", 1),
        ("US", "2024-07-05", 0),
        ("US", "2021-07-05", 1),  # Independence Day fell on a Sunday
        ("US", "2024-11-28", 1),  # Thanksgiving, the fourth Thursday
        ("DE-BY", "2024-04-01", 1),  # Easter Monday
        ("DE-BY", "2025-04-21", 1),
        ("DE-BY", "2025-04-01", 0),
        ("DE-BY", "2024-01-06", 1),  # Epiphany: in Bavaria, not in Berlin
        ("DE-BE", "2024-01-06", 0),
    ],
)
def test_holidays_are_those_of_the_place(place: str, day: str, expected: int) -> None:
    hours = moments(day) + HOUR * np.arange(24)
    np.testing.assert_array_equal(build(hours, holidays=place).numbers("holiday"), expected)


def test_monthly_rows_count_their_holidays() -> None:
    starts, ends = on_clock(MONTHLY, "2024-01-01", 12)
    table = build(starts, ends, holidays="DE-BY")
    expected = [2, 0, 1, 1, 4, 0, 0, 0, 0, 1, 1, 2]
    np.testing.assert_array_equal(table.numbers("holiday"), expected)
    assert names(table, "month") == list(vocabularies(["month"])["month"])
    assert set(names(table, "day")) == {"01"}


def test_every_holiday_counts_in_one_week_only_in_whatever_zone() -> None:
    days = build(*on_clock(Clock(every=DAY), "2020-01-02", 7 * 200), holidays="DE-BY")
    for zone in (None, "America/New_York", "Asia/Tokyo"):
        weeks = build(*on_clock(Clock(every=7 * DAY), "2020-01-02", 200), zone, "DE-BY")
        assert weeks.numbers("holiday").sum() == days.numbers("holiday").sum()


def test_holiday_is_a_flag_up_to_a_day_and_a_number_beyond() -> None:
    daily = Clock(every=1, unit="day", time_zone="Europe/Berlin")
    assert [calendar_columns(["holiday"], clock)[0].type for clock in (HOURLY, daily)] == [
        "flag", "flag"
    ]  # fmt: skip
    for clock in (MONTHLY, Clock(every=7 * DAY), Clock(every=2 * DAY)):
        assert calendar_columns(["holiday"], clock)[0].type == "number"


def test_columns_vocabularies_and_table_speak_of_the_same() -> None:
    table = build(moments("2024-01-01"))
    columns = calendar_columns(FEATURES, HOURLY)
    assert [column.name for column in columns] == list(table.columns)
    assert {column.role for column in columns} == {"future"}
    assert {column.name for column in columns if column.type == "category"} == set(
        vocabularies(FEATURES)
    )
    for name, words in vocabularies(FEATURES).items():
        assert table.words(name).words == words


def test_no_row_depends_on_the_others() -> None:
    starts = moments("1700-01-01", "1899-12-31T23:00", "2024-12-31", "2025-01-01", "2500-06-01")
    ends = starts + HOUR
    ends[2] = starts[2] + 30 * DAY
    together = build(starts, ends, "America/New_York", "US-NY")
    for row in range(len(starts)):
        alone = build(starts[row : row + 1], ends[row : row + 1], "America/New_York", "US-NY")
        for name, values in together.columns.items():
            other = alone.columns[name]
            if isinstance(values, Words):
                assert values.codes[row] == alone.words(name).codes[0]
            else:
                assert values[row] == other[0]


def test_no_rows_are_no_rows() -> None:
    table = build(moments())
    assert len(table) == 0
    assert all(len(table.numbers(name)) == 0 for name in ("holiday", "time_of_day_sin"))


def test_years_outside_of_all_laws_hold_no_holidays() -> None:
    for day in ("1700-07-04", "-0100-07-04", "12000-07-04"):
        assert build(moments(day)).numbers("holiday")[0] == 0


def test_it_is_logged_where_holidays_are_known_of_some_years_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        build(moments("1950-01-26"), holidays="IN")
    assert "holidays of IN" in caplog.text


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("DD", "country 'DD'; with D there are DE, DJ, DK, DM, DO, DZ"),
        ("US-NYC", "part 'NYC' of US; did you mean 'NY'?"),
        ("DE-XX", "part 'XX' of DE; there are BB, BE, BW, BY"),
        ("JP-13", "part '13' of JP; write JP alone"),
    ],
)
def test_an_unknown_place_is_told_with_what_is_near(place: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=r"^data[.]streams[.]calendar[.]holidays: ") as error:
        check_holidays(place, "data.streams.calendar.holidays")
    assert expected in str(error.value)
    with pytest.raises(ConfigError):
        build(moments("2024-01-01"), holidays=place)


def test_holidays_are_not_loaded_before_they_are_asked_for() -> None:
    assert not loaded_after("import mmts.data.calendar_features", "holidays")


def test_the_calendar_agrees_with_pandas_in_a_zone() -> None:
    zone = "America/New_York"
    starts = moments("1970-01-01")[0] + 7 * HOUR * np.arange(20_000)
    table = build(starts, zone=zone)
    local = pd.DatetimeIndex(starts.astype("datetime64[us]"), tz="UTC").tz_convert(zone)
    np.testing.assert_array_equal(table.words("hour").codes, local.hour)
    np.testing.assert_array_equal(table.words("weekday").codes, local.day_of_week)
    np.testing.assert_array_equal(table.words("week").codes + 1, local.isocalendar().week)
    np.testing.assert_array_equal(table.words("day").codes + 1, local.day)
