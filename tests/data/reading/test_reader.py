"""The door: what a file may hold, and what is said of one that holds something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmts.data.config import StreamConfig
from mmts.data.reading.reader import choose_columns, read_table
from mmts.data.table import Table
from mmts.data.times import format_times
from mmts.errors import DataError


def read(tmp_path: Path, text: str, **settings: object) -> Table:
    path = tmp_path / "stream.csv"
    path.write_text(text)
    stream = StreamConfig(path=str(path), time="time", **settings)
    return read_table(path, stream, choose_columns(path, stream))


def test_reads_numbers_with_gaps_and_items(tmp_path: Path) -> None:
    table = read(tmp_path, "time,item,a\n2024-01-01,x,1.5\n2024-01-02,x,\n", item="item")
    assert table.items == ("x",)
    np.testing.assert_array_equal(table.columns["a"], [1.5, np.nan])
    assert np.diff(table.times) == 86_400_000_000


def test_items_that_look_like_numbers_keep_their_leading_zeros(tmp_path: Path) -> None:
    table = read(tmp_path, "time,item,a\n2024-01-01,007,1\n", item="item")
    assert table.items == ("007",)


def test_rows_are_sorted_by_item_and_time(tmp_path: Path) -> None:
    text = "time,item,a\n2024-01-02,y,4\n2024-01-02,x,2\n2024-01-01,y,3\n2024-01-01,x,1\n"
    np.testing.assert_array_equal(read(tmp_path, text, item="item").columns["a"], [1, 2, 3, 4])


def test_offsets_are_brought_to_utc(tmp_path: Path) -> None:
    table = read(tmp_path, "time,a\n2024-01-01T01:00:00+01:00,1\n2024-01-01T01:00:00Z,2\n")
    assert table.has_time_zone

    assert list(format_times(table.times, True)) == ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"]


def test_missing_values_named_in_the_config_are_missing(tmp_path: Path) -> None:
    text = "time,a,b\n2024-01-01,-9999,n/a\n2024-01-02,1,2\n"
    table = read(tmp_path, text, missing_values=(-9999, "n/a"))
    np.testing.assert_array_equal(table.columns["a"], [np.nan, 1])
    np.testing.assert_array_equal(table.columns["b"], [np.nan, 2])


@pytest.mark.parametrize(("how", "expected"), [("mean", 2.0), ("first", 1.0), ("last", 3.0)])
def test_duplicates_are_merged_as_the_config_names(
    tmp_path: Path, how: str, expected: float
) -> None:
    text = "time,a\n2024-01-01,1\n2024-01-01,3\n2024-01-02,9\n"
    np.testing.assert_array_equal(read(tmp_path, text, duplicates=how).columns["a"], [expected, 9])


def test_a_data_frame_reads_as_its_csv_does(tmp_path: Path) -> None:
    text = "time,item,a\n2024-01-01 00:00:00,x,1.5\n2024-01-01 01:00:00,x,\n"
    from_file = read(tmp_path, text, item="item")
    frame = pd.DataFrame(
        {
            "time": pd.to_datetime(["2024-01-01 00:00", "2024-01-01 01:00"]),
            "item": ["x", "x"],
            "a": [1.5, None],
        }
    )
    stream = StreamConfig(path="", time="time", item="item")
    from_frame = read_table(frame, stream, choose_columns(frame, stream))

    np.testing.assert_array_equal(from_file.times, from_frame.times)
    np.testing.assert_array_equal(from_file.columns["a"], from_frame.columns["a"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("time,a\n", ["no row"]),
        ("tim,a\n2024-01-01,1\n", ["no column 'time'", "did you mean 'tim'"]),
        ("time,a\n2024-01-01,1\n2024-01-02,hot\n", ["row 3", "'a'", "'hot'", "missing_values"]),
        ("time,a\n2024-01-01,inf\n", ["row 2", "infinite"]),
        ("time,a\nyesterday,1\n", ["row 2", "'yesterday'", "ISO 8601"]),
        ("time,a\n,1\n", ["row 2", "the time is empty"]),
        ("time,a\n1704067200,1\n", ["row 2", "'1704067200'", "ISO 8601"]),
        ("time,a\n2024-01-01,1\n2024-01-01,2\n", ["rows 2 and 3", "duplicates"]),
        ("time,a\n2024-01-01T00:00Z,1\n2024-01-02T00:00,2\n", ["row 3", "UTC offset"]),
        ("time,a\n2024-01-01,1,2,3\n", ["row 2", "4 cells where the header has 2"]),
        ("time,a,a\n2024-01-01,1,2\n", ["2 columns are named 'a'"]),
        (",time,a\n0,2024-01-01,1\n", ["a column has no name"]),
        ("time\n2024-01-01\n", ["no column besides time and item"]),
    ],
)
def test_a_faulty_file_is_refused_in_words(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    for word in words:
        assert word in str(caught.value)


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "time,a,b\nnever,hot,cold\n")
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "weather.csv").write_text("time,a\n")
    stream = StreamConfig(path="wether.csv", time="time")
    with pytest.raises(DataError, match=r"did you mean 'weather\.csv'"):
        choose_columns(tmp_path / "wether.csv", stream)


@pytest.mark.parametrize("offset", ["+02", "+0200", "+02:00"])
def test_offsets_of_every_form_are_read(tmp_path: Path, offset: str) -> None:
    table = read(tmp_path, f"time,a\n2024-01-01 10:00:00{offset},1\n")
    assert table.has_time_zone
    assert list(format_times(table.times, True)) == ["2024-01-01T08:00:00Z"]


def test_a_date_alone_has_no_offset(tmp_path: Path) -> None:
    assert not read(tmp_path, "time,a\n2024-01-02,1\n").has_time_zone


def test_flags_with_a_gap_read_as_flags_without(tmp_path: Path) -> None:
    table = read(tmp_path, "time,a\n2024-01-01,True\n2024-01-02,\n2024-01-03,False\n")
    np.testing.assert_array_equal(table.columns["a"], [1, np.nan, 0])


def test_fractions_of_a_second_are_written() -> None:
    times = np.array([0, 100_000], dtype=np.int64)
    assert list(format_times(times, False)) == [
        "1970-01-01 00:00:00.000000", "1970-01-01 00:00:00.100000"
    ]  # fmt: skip


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stream.csv.gz"
    path.write_bytes(b"no gzip")
    stream = StreamConfig(path=str(path), time="time")
    with pytest.raises(DataError, match="cannot be read"):
        choose_columns(path, stream)


def test_blanks_around_times_count_for_nothing_once_their_format_is_named(tmp_path: Path) -> None:
    text = "time; a\n 01.02.2021; 1\n 13.02.2021 ; 2\n"
    with pytest.raises(DataError, match=r"Set time_format: '%d\.%m\.%Y' for the stream"):
        read(tmp_path, text)
    table = read(tmp_path, text, time_format="%d.%m.%Y")
    assert np.diff(table.times) == 12 * 86_400_000_000


def test_no_format_is_proposed_by_which_years_would_be_absurd(tmp_path: Path) -> None:
    months = "".join(f"2{number:02}{number:02}01,{number}\n" for number in (1, 2, 3))
    with pytest.raises(DataError) as refused:
        read(tmp_path, f"time,a\n{months}")
    assert "%Y%m" not in str(refused.value).replace("%Y%m%d", "")
    # In these, years of two digits could be months of four, and nobody can tell.
    days = "".join(f"21{month:02}01,{month}\n" for month in range(1, 13))
    with pytest.raises(DataError, match=r"'%Y%m' or '%y%m%d'"):
        read(tmp_path, f"time,a\n{days}")
