"""Any table in any dialect reads back, wherever its chunks end; any bytes are refused in words."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmts.data.config import StreamConfig
from mmts.data.reading.reader import choose_columns, read_table
from mmts.data.table import Table, Words
from mmts.errors import DataError

TRIES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 99))
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6
).map(str.strip)  # fmt: skip
DIALECTS = st.fixed_dictionaries(
    {
        "sep": st.sampled_from([",", ";", "\t", "|"]),
        "decimal": st.sampled_from([".", ","]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
        "quoting": st.sampled_from([0, 1]),
        "date_format": st.sampled_from([None, "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M"]),
    }
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(1, 8))
    times = pd.date_range("2023-12-31", periods=rows, freq="h")
    return pd.DataFrame(
        {
            "time": draw(st.permutations(list(times))),
            "item": draw(st.lists(WORDS.filter(bool), min_size=rows, max_size=rows)),
            "a": pd.array(draw(st.lists(NUMBERS, min_size=rows, max_size=rows)), dtype="Float64"),
            "note": draw(st.lists(WORDS, min_size=rows, max_size=rows)),
        }
    )


def read(path: Path, size: int | None = None, **extra: Any) -> Table:
    stream = StreamConfig(
        path=str(path), time="time", item="item", past=("a",), text=("note",), **extra
    )
    return read_table(path, stream, choose_columns(path, stream), chunk_size=size)


def in_words(table: Table, column: str) -> list[str | None]:
    words = table.words(column)
    return [words.words[code] if code >= 0 else None for code in words.codes]


def assert_equal(one: Table, other: Table) -> None:
    assert one.items == other.items
    np.testing.assert_array_equal(one.begin, other.begin)
    np.testing.assert_array_equal(one.times, other.times)
    for name, values in one.columns.items():
        if isinstance(values, Words):
            assert values.words == other.words(name).words
            np.testing.assert_array_equal(values.codes, other.words(name).codes)
        else:
            np.testing.assert_array_equal(values, other.columns[name])


@TRIES
@given(frame=frames(), dialect=DIALECTS, size=st.integers(1, 400))
def test_any_table_reads_back_in_any_dialect_and_any_chunks(
    tmp_path: Path, frame: pd.DataFrame, dialect: dict[str, Any], size: int
) -> None:
    path = tmp_path / "any.csv"
    frame.to_csv(path, index=False, **dialect)
    ways: dict[str, Any] = {"decimal": dialect["decimal"]}
    if dialect["date_format"] == "%d.%m.%Y %H:%M":
        ways["time_format"] = dialect["date_format"]
    table = read(path, **ways)

    expected = frame.sort_values(["item", "time"])
    assert table.items == tuple(sorted(set(expected["item"])))
    times = expected["time"].to_numpy(dtype="datetime64[us]").astype(np.int64)
    np.testing.assert_array_equal(table.times, times)
    values = expected["a"].to_numpy(dtype=np.float64, na_value=np.nan)
    np.testing.assert_array_equal(table.columns["a"], values)
    assert in_words(table, "note") == [note or None for note in expected["note"]]
    assert_equal(read(path, size, **ways), table)


@pytest.mark.parametrize("size", range(1, 90))
def test_no_chunk_changes_what_is_read_or_said(tmp_path: Path, size: int) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(
        b'time,item,a,note\r\n2024-01-01,7,1,"one\ntwo"\n\n20240102,007,True,x\n'
        b'2024-01-03,x,,"3"\n2024/01/04,7,2.5,\xc3\xbc\n'
    )
    assert_equal(read(path, size), read(path))
    path.write_text(
        "time,item,a,note\n2024-01-01,7,1,\nnever,7,hot,\ntime,item,a,note\n2024-01-03,,inf,cold\n"
    )
    said = []
    for chunk in (size, None):
        with pytest.raises(DataError) as caught:
            read(path, chunk)
        said.append(set(str(caught.value).splitlines()))
    assert said[0] == said[1]


@TRIES
@given(data=st.binary(max_size=80))
def test_random_bytes_are_refused_in_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(data)
    with pytest.raises(DataError):
        read(path)


GOOD = (
    b'time,item,a,note\n2024-01-01 00:00,x,1.5,"one, ""two"""\n2024-01-01 01:00,x,,\n'
    b"2024-01-01 00:00,y,-2e3,three\n2024-01-01 01:00,y,True,four\n"
)
PIECES = st.sampled_from(
    [b",", b"\n", b"\r", b'"', b"\0", b"\xff", b";", b" ", b"#", b"e", b"-", b"0", b"9" * 20, b":",
     b"time", b"inf", b"Z", b"+01:00", b"\xef\xbb\xbf", b"\r\n", b"nan", b"now", b"\x1a", b"_"]
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.one_of(PIECES, st.just(b""))),
    min_size=1, max_size=4,
)  # fmt: skip
SETTINGS = st.sampled_from(
    [{}, {"time_zone": "Europe/Berlin"}, {"decimal": ","}, {"thousands": ","}, {"delimiter": ";"},
     {"time_format": "%Y-%m-%d %H:%M"}, {"time_format": "unix_s"}, {"duplicates": "mean"},
     {"encoding": "latin-1"}, {"encoding": "utf-16"}]
)  # fmt: skip


@settings(TRIES, max_examples=80)
@given(edits=EDITS, ways=SETTINGS, size=st.integers(1, 60))
def test_a_file_with_any_damage_is_read_or_refused_in_words(
    tmp_path: Path, edits: list[tuple[int, int, bytes]], ways: dict[str, Any], size: int
) -> None:
    data = GOOD
    for place, length, piece in edits:
        data = data[:place] + piece + data[place + length :]
    path = tmp_path / "any.csv"
    path.write_bytes(data)
    table = None
    with suppress(DataError):
        table = read(path, **ways)
    if table is not None:
        assert_equal(read(path, size, **ways), table)
    else:
        with pytest.raises(DataError):
            read(path, size, **ways)


@TRIES
@given(frame=frames(), size=st.integers(1, 9))
def test_frames_and_parquet_files_read_as_their_csv(
    tmp_path: Path, frame: pd.DataFrame, size: int
) -> None:
    frame.to_parquet(tmp_path / "any.parquet")
    stream = StreamConfig(path="any", time="time", item="item", past=("a",), text=("note",))
    columns = choose_columns(frame, stream)
    table = read_table(frame, stream, columns)
    again = read(tmp_path / "any.parquet", size)
    assert_equal(table, replace(again, source=table.source))
