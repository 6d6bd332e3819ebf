"""Clocks against Python's own calendar: fixed steps, local days, and months."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmts.data.clock import DAY, Clock

HOUR = DAY // 24

# The first look at a zone lists all its days.
unhurried = settings(deadline=None)
ZONES = (
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Havana",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
)

moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(
    lambda time: micros(time.replace(tzinfo=UTC))
)
counts = st.integers(1, 5)
zones = st.sampled_from(ZONES)
clocks = st.one_of(
    st.builds(Clock, every=st.integers(1, 400 * DAY)),
    st.builds(Clock, every=counts, unit=st.just("day"), time_zone=zones),
    st.builds(Clock, every=counts, unit=st.just("month"), time_zone=st.none() | zones),
)


def micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def local(moment: int, zone: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)).astimezone(
        ZoneInfo(zone)
    )


def advance(clock: Clock, start: int, steps: int) -> int:
    return int(clock.advance(torch.tensor(start), steps))


def elapsed(clock: Clock, start: int, moment: int) -> int:
    return int(clock.elapsed(torch.tensor(start), moment))


def floor(clock: Clock, moment: int) -> int:
    return int(clock.floor(torch.tensor(moment)))


def midnight(day: str, zone: str = "UTC") -> int:
    return micros(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))


@unhurried
@given(clocks, moments, st.integers(-200, 200))
def test_as_many_periods_lie_between_as_were_gone(clock: Clock, moment: int, steps: int) -> None:
    start = floor(clock, moment)
    end = advance(clock, start, steps)
    assert elapsed(clock, start, end) == steps
    assert elapsed(clock, start, end - 1) == steps - 1
    assert advance(clock, end, -steps) == start


@unhurried
@given(clocks, moments, st.integers(-100 * DAY, 100 * DAY))
def test_a_moment_lies_in_the_period_that_elapsed_names(
    clock: Clock, moment: int, apart: int
) -> None:
    start = floor(clock, moment)
    steps = elapsed(clock, start, start + apart)
    assert advance(clock, start, steps) <= start + apart < advance(clock, start, steps + 1)


@unhurried
@given(clocks, moments)
def test_no_period_is_longer_or_shorter_than_is_promised(clock: Clock, moment: int) -> None:
    start = floor(clock, moment)
    assert clock.shortest <= advance(clock, start, 1) - start <= clock.longest


@unhurried
@given(clocks, st.lists(moments, min_size=2, max_size=4), st.integers(0, 50))
def test_many_at_once_are_each_alone(clock: Clock, times: list[int], steps: int) -> None:
    starts = clock.floor(torch.tensor(times))
    ends = clock.advance(starts[:, None], torch.arange(steps + 1))
    assert ends.dtype == torch.int64
    assert ends[:, -1].tolist() == [advance(clock, int(start), steps) for start in starts]
    assert clock.elapsed(starts, ends[:, -1]).tolist() == [steps] * len(times)


@unhurried
@given(moments, st.integers(-500, 500))
def test_months_are_those_of_python(moment: int, steps: int) -> None:
    clock = Clock(every=1, unit="month")
    start = floor(clock, moment)
    first = local(moment, "UTC").replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert start == micros(first)
    years, month = divmod(first.month - 1 + steps, 12)
    assert advance(clock, start, steps) == micros(
        first.replace(year=first.year + years, month=month + 1)
    )


@unhurried
@given(zones, moments)
@example("America/Sao_Paulo", midnight("2018-11-04T12:00"))
@example("Africa/Cairo", midnight("2023-04-28T12:00"))
@example("Asia/Beirut", midnight("2022-03-27T12:00"))
@example("America/Havana", midnight("2023-11-05T12:00"))
@example("Pacific/Apia", midnight("2011-12-30T10:00"))
def test_a_local_day_begins_where_the_date_does(zone: str, moment: int) -> None:
    clock = Clock(every=1, unit="day", time_zone=zone)
    begin = floor(clock, moment)
    end = advance(clock, begin, 1)
    assert begin <= moment < end
    assert local(begin - 1, zone).date() < local(begin, zone).date()
    assert local(end - 1, zone).date() < local(end, zone).date()


def test_a_day_whose_midnight_half_an_hour_is_missing_from_begins_after_it() -> None:
    # On Lord Howe Island clocks were set forward by half an hour at midnight.
    moment = int(pd.Timestamp("1981-03-01 12:00", tz="Australia/Lord_Howe").timestamp() * 1e6)
    for unit in ("day", "month"):
        clock = Clock(every=1, unit=unit, time_zone="Australia/Lord_Howe")
        begin = floor(clock, moment)
        assert str(local(begin, "Australia/Lord_Howe")) == "1981-03-01 00:30:00+10:30"


@unhurried
@given(zones, moments)
def test_a_local_month_begins_where_the_date_does(zone: str, moment: int) -> None:
    clock = Clock(every=1, unit="month", time_zone=zone)
    begin = floor(clock, moment)
    assert local(begin, zone).date().day == 1
    assert local(begin - 1, zone).date() < local(begin, zone).date()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2024-03-31", 23),
        ("Europe/Berlin", "2024-10-27", 25),
        ("Europe/Berlin", "2060-10-31", 25),
        ("Australia/Lord_Howe", "2024-04-07", 24.5),
        ("Antarctica/Troll", "2024-03-31", 22),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("America/Sao_Paulo", "2018-02-17", 25),
        ("Africa/Cairo", "2023-04-28", 23),
        ("Asia/Beirut", "2022-03-27", 23),
        ("Pacific/Apia", "2011-12-29", 24),
        ("Pacific/Apia", "2011-12-31", 24),
    ],
)
def test_a_day_is_as_long_as_its_zone_had_it(zone: str, day: str, hours: float) -> None:
    clock = Clock(every=1, unit="day", time_zone=zone)
    begin = floor(clock, midnight(day + "T12:00", zone))
    assert local(begin, zone).date() == date.fromisoformat(day)
    assert advance(clock, begin, 1) - begin == hours * HOUR


@pytest.mark.parametrize(
    ("day", "hours"), [("2024-03-30", 23), ("2024-03-31", 24), ("2024-10-26", 25)]
)
def test_a_day_of_the_gas_trade_begins_at_six_on_the_local_clock(day: str, hours: int) -> None:
    clock = Clock(every=1, unit="day", time_zone="Europe/Berlin", offset=6 * HOUR)
    begin = floor(clock, midnight(day + "T18:00", "Europe/Berlin"))
    assert local(begin, "Europe/Berlin").isoformat().startswith(day + "T06:00:00")
    end = advance(clock, begin, 1)
    assert local(end, "Europe/Berlin").hour == 6
    assert end - begin == hours * HOUR
    assert floor(clock, end - 1) == begin
    assert (clock.shortest, clock.longest) == (23 * HOUR, 25 * HOUR)


def test_only_a_day_may_begin_at_another_time_than_midnight() -> None:
    for unit in ("month", "microsecond"):
        with pytest.raises(ValueError, match="only a clock of days"):
            Clock.model_validate({"every": 1, "unit": unit, "offset": HOUR})


def test_a_day_whose_midnight_is_skipped_begins_after_the_gap() -> None:
    clock = Clock(every=1, unit="day", time_zone="America/Sao_Paulo")
    begin = advance(clock, midnight("2018-11-03", "America/Sao_Paulo"), 1)
    assert local(begin, "America/Sao_Paulo").isoformat() == "2018-11-04T01:00:00-02:00"


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        ("Pacific/Apia", "2011-12-29", "2011-12-31"),
        ("Pacific/Kiritimati", "1994-12-30", "1995-01-01"),
        ("Pacific/Kwajalein", "1993-08-20", "1993-08-22"),
    ],
)
@pytest.mark.parametrize("hours", [0, 2.5, 6, 12, 23.5])
def test_a_date_that_never_was_is_no_day(zone: str, before: str, after: str, hours: float) -> None:
    offset = int(hours * HOUR)
    clock = Clock(every=1, unit="day", time_zone=zone, offset=offset)
    start = midnight(before, zone) + offset
    assert local(advance(clock, start, 1), zone).date() == date.fromisoformat(after)
    assert elapsed(clock, start, midnight(after, zone) + offset) == 1


def test_quarters_and_years_start_in_any_month() -> None:
    for every, months in ((3, [2, 5, 8, 11]), (12, [2, 2])):
        clock = Clock(every=every, unit="month")
        start = midnight("2023-02-01")
        found = [local(advance(clock, start, n), "UTC") for n in range(len(months))]
        assert [time.month for time in found] == months
        assert {time.day for time in found} == {1}


def test_periods_are_counted_from_the_earliest_moment() -> None:
    months = pd.date_range("2024-01-01", periods=12, freq="MS").as_unit("us").asi8
    found = Clock(every=1, unit="month").places(months[::-1])
    # February is shorter than a month is on average, and counts as one.
    assert found.tolist() == list(range(11, -1, -1))
    quarters = Clock(every=3, unit="month").places(months)
    assert quarters.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert Clock(every=10).places(np.array([7, 16, 17, 27])).tolist() == [0, 0, 1, 2]


def test_before_the_start_periods_count_below_zero() -> None:
    quarters, start = Clock(every=3, unit="month"), midnight("2024-02-01")
    assert [
        elapsed(quarters, start, midnight(day))
        for day in ("2023-10-31", "2023-11-01", "2024-01-31", "2024-02-01", "2024-04-30")
    ] == [-2, -1, -1, 0, 0]
    hourly = Clock(every=HOUR)
    assert [elapsed(hourly, start, start + apart) for apart in (-HOUR - 1, -HOUR, -1)] == [
        -2, -1, -1
    ]  # fmt: skip


def test_a_clock_says_what_it_is() -> None:
    assert str(Clock(every=15 * HOUR // 60)) == "15min"
    assert str(Clock(every=7, unit="day", time_zone="Europe/Berlin")) == "7d in Europe/Berlin"
    gas = Clock(every=1, unit="day", time_zone="Europe/Berlin", offset=6 * HOUR)
    assert str(gas) == "1d in Europe/Berlin from 06:00"
    assert str(Clock(every=3, unit="month")) == "3mo"


def test_lengths_are_those_of_the_zone() -> None:
    day = Clock(every=1, unit="day", time_zone="Europe/Berlin")
    assert (day.shortest, day.longest) == (23 * HOUR, 25 * HOUR)
    month = Clock(every=1, unit="month", time_zone="Europe/Berlin")
    assert (month.shortest, month.longest) == (28 * DAY, 31 * DAY + HOUR)
    assert (Clock(every=1, unit="month").longest, Clock(every=5).longest) == (31 * DAY, 5)


@pytest.mark.parametrize("unit", ["day", "month"])
def test_far_moments_lie_on_the_edge(unit: str) -> None:
    clock = Clock(every=1, unit=unit, time_zone="Europe/Berlin")
    for moment in (np.iinfo(np.int64).min // 2, np.iinfo(np.int64).max // 2):
        assert elapsed(clock, moment, moment) == 0
        assert floor(clock, moment) == advance(clock, moment, 0)
