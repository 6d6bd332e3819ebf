"""Where rows come from: folders, patterns, Parquet files and data frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmts.data.config import StreamConfig
from mmts.data.reading.reader import choose_columns, read_table
from mmts.data.reading.sinks import MemorySinks
from mmts.data.table import Table
from mmts.data.times import format_times
from mmts.errors import DataError

NAN = float("nan")
TWO = "time,a\n2024-01-01,1\n2024-01-02,2\n"


def read(source: Any, **settings: Any) -> Table:
    stream = StreamConfig(**{"path": str(source)[:50], "time": "time", **settings})
    return read_table(source, stream, choose_columns(source, stream))


def write(tmp_path: Path, data: str | bytes, name: str = "load.csv") -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_the_files_of_a_folder_are_items_named_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, "time,a\n2024-01-01,2\n", "sensors/b.csv")
    write(tmp_path, "time,b,a\n2024-01-01,9,1\n", "sensors/a.csv")
    write(tmp_path, "no table", "sensors/README.md")
    table = read(tmp_path / "sensors", item_from="file_name", past=["a"])
    assert table.items == ("a", "b")
    np.testing.assert_array_equal(table.columns["a"], [1, 2])
    assert table.source == str(tmp_path / "sensors")


def test_the_folders_of_files_are_items_where_the_config_says_so(tmp_path: Path) -> None:
    write(tmp_path, "time,a\n2024-01-01,2\n", "west/air.csv")
    write(tmp_path, "time,a\n2024-01-01,1\n", "east/air.csv")
    table = read(tmp_path / "*" / "air.csv", item_from="folder_name")
    assert table.items == ("east", "west")
    np.testing.assert_array_equal(table.columns["a"], [1, 2])
    write(tmp_path, "time,a\n2024-01-01,3\n", "east/more.csv")
    with pytest.raises(DataError, match="are both item 'east'"):
        read(tmp_path / "*" / "*.csv", item_from="folder_name")


def test_the_files_of_a_pattern_follow_one_another(tmp_path: Path) -> None:
    write(tmp_path, "time,a\n2024-01-01,1\n", "load-1.csv")
    write(tmp_path, "time;a\n2024-01-02;2\n", "load-2.csv")
    write(tmp_path, "time,a\n2024-01-02,7\n", "other.csv")
    np.testing.assert_array_equal(read(tmp_path / "load-*.csv").columns["a"], [1, 2])
    np.testing.assert_array_equal(read(str(tmp_path / "load-*.csv")).columns["a"], [1, 2])


def test_a_fault_names_its_own_file_and_row(tmp_path: Path) -> None:
    write(tmp_path, "time,a\n2024-01-01,1\n", "load-1.csv")
    write(tmp_path, "time,a\n2024-01-02,2\n2024-01-03,hot\n", "load-2.csv")
    with pytest.raises(DataError, match=r"load-2\.csv, row 3, column 'a': 'hot'"):
        read(tmp_path / "load-*.csv")


def test_columns_that_differ_are_told_for_each_file(tmp_path: Path) -> None:
    for name, header in (("1", "time,a"), ("2", "time,b"), ("3", "date,a")):
        write(tmp_path, f"{header}\n2024-01-01,1\n", f"load-{name}.csv")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "load-*.csv")
    assert "load-2.csv: no column 'a'" in str(caught.value)
    assert "load-3.csv: no column 'time'" in str(caught.value)


def test_rows_that_two_files_share_are_named(tmp_path: Path) -> None:
    write(tmp_path, "time,a\n2024-01-01,1\n2024-01-02,1\n", "load-1.csv")
    write(tmp_path, "time,a\n2024-01-02,2\n", "load-2.csv")
    with pytest.raises(DataError, match=r"load-1\.csv, row 3 and .*load-2\.csv, row 2: both are"):
        read(tmp_path / "load-*.csv")
    merged = read(tmp_path / "load-*.csv", duplicates="mean")
    np.testing.assert_array_equal(merged.columns["a"], [1, 1.5])


def test_a_pattern_that_fits_nothing_says_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, TWO, "load.csv")
    with pytest.raises(DataError, match=r"no file fits the pattern; .* holds load\.csv"):
        read(tmp_path / "sensor*.csv")
    (tmp_path / "sensors").mkdir()
    with pytest.raises(DataError, match="holds no CSV or Parquet file"):
        read(tmp_path / "sensors")


def test_two_files_of_one_item_are_refused(tmp_path: Path) -> None:
    write(tmp_path, TWO, "s/a.csv")
    write(tmp_path, TWO, "s/a.txt")
    with pytest.raises(DataError, match=r"a\.csv and .*a\.txt are both item 'a'"):
        read(tmp_path / "s", item_from="file_name")


def make_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": pd.to_datetime(["2024-01-02 01:00", "2024-01-01 00:00", "2024-01-01 01:00"]),
            "item": [2.0, 1.0, 1.0],
            "a": [1.5, None, 3.0],
            "hub": pd.Categorical(["x", None, "y"]),
            "on": pd.array([True, None, False], dtype="boolean"),
        }
    )


SETTINGS = {"item": "item", "past": ["a"], "category": ["hub"], "flag": ["on"]}


def check_frame(table: Table) -> None:
    assert table.items == ("1", "2")
    np.testing.assert_array_equal(table.columns["a"], [NAN, 3, 1.5])
    np.testing.assert_array_equal(table.columns["on"], [NAN, 0, 1])
    assert [table.words("hub").words[c] if c >= 0 else None for c in table.words("hub").codes] == [
        None, "y", "x"
    ]  # fmt: skip


def test_a_data_frame_a_parquet_and_a_csv_file_read_alike(tmp_path: Path) -> None:
    frame = make_frame()
    frame.to_parquet(tmp_path / "a.parquet")
    frame.assign(item=frame["item"].astype(int)).to_csv(tmp_path / "a.csv", index=False)
    for source in (frame, tmp_path / "a.parquet", tmp_path / "a.csv"):
        check_frame(read(source, **SETTINGS))


def test_zones_of_a_data_frame_and_a_parquet_file_are_brought_to_utc(tmp_path: Path) -> None:
    times = pd.to_datetime(["2024-07-01 12:00"]).tz_localize("Europe/Berlin")
    frame = pd.DataFrame({"time": times, "a": [1.0]})
    frame.to_parquet(tmp_path / "a.parquet")
    for source in (frame, tmp_path / "a.parquet"):
        table = read(source, time_zone="America/New_York")
        assert list(format_times(table.times, table.has_time_zone)) == ["2024-07-01T10:00:00Z"]


def test_rows_of_a_data_frame_are_counted_from_one() -> None:
    frame = pd.DataFrame({"time": ["2024-01-01", "2024-01-02"], "a": [1.0, float("inf")]})
    with pytest.raises(DataError, match="data frame, row 2, column 'a': the value is infinite"):
        read(frame)


def test_lists_in_a_data_frame_are_words_or_refused() -> None:
    frame = pd.DataFrame({"time": ["2024-01-01"], "a": [[1]]})
    with pytest.raises(DataError, match="'a': \\[1\\] is not a number"):
        read(frame)
    assert read(frame, category=["a"]).words("a").words == ("[1]",)


def test_times_in_the_index_of_a_data_frame_are_told() -> None:
    index = pd.DatetimeIndex(["2024-01-01"], name="time")
    with pytest.raises(DataError, match=r"'time' is its index. Give frame\.reset_index"):
        read(pd.DataFrame({"a": [1]}, index=index))


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a Parquet file"):
        read(write(tmp_path, TWO, "load.parquet"))


def test_times_among_the_numbers_of_a_data_frame_are_refused() -> None:
    frame = pd.DataFrame({"time": ["2024-01-01"], "a": pd.to_datetime(["2024-01-01"])})
    with pytest.raises(DataError, match="column 'a': holds times, not numbers"):
        read(frame)


def test_a_sink_gets_every_column_in_the_order_of_the_table(tmp_path: Path) -> None:
    opened: list[str] = []

    class Recording(MemorySinks):
        def open(self, name: str, dtype: Any) -> Any:
            opened.append(name)
            return super().open(name, dtype)

    path = write(tmp_path, "time,i,a\n2024-01-02,y,2\n2024-01-01,x,1\n")
    stream = StreamConfig(path=str(path), time="time", item="i")
    columns = choose_columns(path, stream)
    table = read_table(path, stream, columns, sinks=Recording())
    assert opened == ["items", "times", "columns.a", "items", "times", "columns.a"]
    np.testing.assert_array_equal(table.columns["a"], [1, 2])
