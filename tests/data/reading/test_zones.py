"""Local times, the hour that comes twice, and when rows are available."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmts.data.config import StreamConfig
from mmts.data.reading.reader import choose_columns, read_table
from mmts.data.table import Table
from mmts.data.times import format_times
from mmts.errors import DataError

BERLIN = {"time_zone": "Europe/Berlin"}


def read(source: Any, **settings: Any) -> Table:
    stream = StreamConfig(**{"path": str(source)[:50], "time": "time", **settings})
    return read_table(source, stream, choose_columns(source, stream))


def write(tmp_path: Path, data: str | bytes, name: str = "load.csv") -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_date_of_availability_counts_from_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "time,a,known\n2024-07-01,1,2024-07-02\n2024-07-02,1,2024-07-02 12:00\n"
    path = write(tmp_path, text)
    table = read(path, available_at="known")
    assert list(format_times(table.available, False)) == [
        "2024-07-03 00:00:00", "2024-07-02 12:00:00"
    ]  # fmt: skip
    local = read(path, available_at="known", **BERLIN)
    assert format_times(local.available, True)[0] == "2024-07-02T22:00:00Z"
    assert list(table.columns) == ["a"]
    assert "1 cells of column 'known' name a day without a time, beside 1 that have" in caplog.text
    caplog.clear()
    read(write(tmp_path, text.replace("2024-07-02\n", "9999-12-31\n")), available_at="known")
    assert not caplog.text


@pytest.mark.parametrize(
    ("known", "time_format"), [("2024-07-02", None), ("02.07.2024", "%d.%m.%Y")]
)
def test_that_rows_are_available_at_the_end_of_their_day_is_said(
    known: str, time_format: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, f"time,a,known\n{known},1,{known}\n")
    with caplog.at_level("INFO"):
        table = read(path, available_at="known", time_format=time_format)
    assert list(format_times(table.available, False)) == ["2024-07-03 00:00:00"]
    assert caplog.messages == [f"{path}: rows are available at the end of their day"]


def test_dates_of_a_data_frame_count_from_their_end_too() -> None:
    frame = pd.DataFrame(
        {"time": ["2024-07-01"], "a": [1], "known": pd.to_datetime(["2024-07-02"])}
    )
    table = read(frame, available_at="known")
    assert list(format_times(table.available, False)) == ["2024-07-03 00:00:00"]


def test_availability_with_an_offset_beside_times_without_is_refused(tmp_path: Path) -> None:
    text = "time,a,known\n2024-07-01,1,2024-07-02 00:00Z\n"
    with pytest.raises(DataError, match="'known' state a UTC offset, and those of 'time' do not"):
        read(write(tmp_path, text), available_at="known")


def test_each_item_has_its_own_hour_that_comes_twice(tmp_path: Path) -> None:
    rows = [f"2024-10-27 02:{minute},{item},{copy}" for copy in (1, 2) for minute in ("00", "30")
            for item in "xy"]  # fmt: skip
    table = read(write(tmp_path, "\n".join(["time,i,a", *rows])), item="i", **BERLIN)
    np.testing.assert_array_equal(table.columns["a"], [1, 1, 2, 2] * 2)
    assert (np.diff(table.times[:4]) == 1_800_000_000).all()


def test_an_hour_that_is_there_once_is_summer_time_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "time,a\n2024-10-27 01:00,1\n2024-10-27 02:00,2\n2024-10-27 03:00,3\n")
    table = read(path, **BERLIN)
    assert format_times(table.times, True)[1] == "2024-10-27T00:00:00Z"
    assert "taken as summer time" in caplog.text


def test_a_year_of_local_hours_is_one_of_hours_in_utc(tmp_path: Path) -> None:
    hours = pd.date_range("2024-01-01", "2025-01-01", freq="h", tz="Europe/Berlin")
    text = "time,a\n" + "".join(f"{time:%d.%m.%Y %H:%M},1\n" for time in hours)
    table = read(write(tmp_path, text), time_format="%d.%m.%Y %H:%M", **BERLIN)
    assert (np.diff(table.times) == 3_600_000_000).all()
