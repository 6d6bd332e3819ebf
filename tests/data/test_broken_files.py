"""Files as people have them: each read right, or refused with row, column, value and remedy."""

from __future__ import annotations

import gzip
import lzma
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmts.data.config import StreamConfig
from mmts.data.reading import choose_columns, read_table
from mmts.data.sinks import MemorySinks
from mmts.data.table import Table
from mmts.data.times import format_times
from mmts.errors import DataError


def read(source: Any, **settings: Any) -> Table:
    stream = StreamConfig(**{"path": str(source)[:50], "time": "time", **settings})
    return read_table(source, stream, choose_columns(source, stream))


def write(tmp_path: Path, data: str | bytes, name: str = "load.csv") -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@dataclass(frozen=True)
class Refused:
    """A file and the words of its message."""

    data: str | bytes
    words: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    name: str = "load.csv"


@dataclass(frozen=True)
class Read:
    """A file and what it holds."""

    data: str | bytes
    values: list[float]
    times: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    name: str = "load.csv"


NAN = float("nan")
BERLIN = {"time_zone": "Europe/Berlin"}
DAYS = ["2024-01-01 00:00:00", "2024-01-02 00:00:00"]
TWO = "time,a\n2024-01-01,1\n2024-01-02,2\n"


def zipped(*names: str) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, TWO)
    return buffer.getvalue()


REFUSED = {
    # shape
    "an empty file": Refused("", ["the file is empty"]),
    "a file of blank lines": Refused("\n\n\n", ["the file is empty"]),
    "nothing but a header": Refused("time,a\n", ["no row below the header"]),
    "a short row": Refused(
        "time,a,b\n2024-01-01,1,2\n2024-01-02,1\n2024-01-03,1,2\n",
        ["row 3", "2 cells where the header has 3", "empty cell"],
    ),
    "two short rows": Refused("time,a\n1\n2\n2024-01-01,1\n", ["row 2", "and 1 more row)"]),
    "a long row": Refused(
        "time,a\n2024-01-01,1\n2024-01-02,1,5\n", ["row 3", "3 cells", "quotation marks", "decimal"]
    ),
    "a short row behind a long one": Refused(
        "time,a,b\n2024-01-01,1,2,3\n2024-01-02,1\n", ["row 2: has 4", "row 3: has 2"]
    ),
    "a file cut off in the middle": Refused(
        "time,a,b\n2024-01-01,1,2\n2024-01-02,1", ["ends in the middle of row 3", "truncated?"]
    ),
    "a NUL byte": Refused("time,a\n2024-01-01,1\n2024-01-02,\0\n", ["row 3", "NUL byte"]),
    "a header in the middle": Refused(
        "time,a\n2024-01-01,1\ntime,a\n2024-01-02,2\n", ["row 3", "repeats the header"]
    ),
    "a picture": Refused(b"\x89PNG\r\n\x1a\n" + bytes(50), ["not a table", "PNG picture"]),
    "bytes of a program": Refused(b"\x7fELF\x02\x01\x01\0\0\0", ["not a text file"]),
    "a workbook named csv": Refused(zipped("xl/workbook.xml"), ["Excel workbook", "CSV"]),
    "a zip of several files": Refused(
        zipped("a.csv", "b.csv"), ["holds 2 files: a.csv, b.csv", "single CSV"], name="load.zip"
    ),
    "a broken gzip": Refused(b"no gzip", ["cannot be read"], name="load.csv.gz"),
    "a gzip cut off": Refused(gzip.compress(TWO.encode() * 99)[:-9], ["cannot be read"],
                              name="load.csv.gz"),
    "a web page saved as csv": Refused("<!DOCTYPE html>\n<html>", ["a web page"]),
    "a column without a name": Refused(",time,a\n0,2024-01-01,1\n", ["a column has no name"]),
    "a cell below no name at the end": Refused(
        "time,a,\n2024-01-01,1,5\n", ["row 2", "'5'", "without a name"]
    ),
    "two columns of one name": Refused("time,a,a\n2024-01-01,1,2\n", ["2 columns are named 'a'"]),
    "two names that differ by a blank": Refused(
        "time,a, a\n2024-01-01,1,2\n", ["2 columns are named 'a'"]
    ),
    "a quotation mark never closed": Refused(
        'time,a\n2024-01-01,1\n2024-01-02,"2\n2024-01-03,3\n', ["row 3", "never closed"]
    ),
    "text behind a closing quotation mark": Refused(
        'time,a\n2024-01-01,"1"x\n', ["row 2", "closing quotation mark"]
    ),
    "a carriage return within a row": Refused(
        "time,a\n2024-01-01,1\r5\n", ["row 2", "carriage return"]
    ),
    "a missing column": Refused("tim,a\n2024-01-01,1\n", ["no column 'time'", "'tim'"]),
    # encoding
    "latin-1 bytes in a cell": Refused(
        "time,a,b\n2024-01-01,1,2\n2024-01-02,1,M\xfcnchen\n".encode("latin-1"),
        ["row 3", "xfc", "'M\xfcnchen'", "encoding: latin-1"],
    ),
    "latin-1 bytes in the header": Refused(
        "time,W\xe4rme\n2024-01-01,1\n".encode("latin-1"), ["row 1", "encoding: latin-1"]
    ),
    "an unknown encoding": Refused(TWO, ["'klingon'", "encoding"], {"encoding": "klingon"}),
    "bytes that are not the encoding that is set": Refused(
        "time,a\n2024-01-01,1\n2024-01-02,\xfc\n".encode("latin-1"),
        ["row 3", "ascii", "Correct encoding"], {"encoding": "ascii"},
    ),
    # numbers
    "a word among numbers": Refused(
        "time,a\n2024-01-01,1\n2024-01-02,hot\n2024-01-03,cold\n",
        ["row 3", "'a'", "'hot'", "and 1 more row)", "missing_values"],
    ),
    "a decimal comma": Refused("time;a\n2024-01-01;1,5\n", ["row 2", "'1,5'", "decimal: ','"]),
    "points between thousands and a decimal comma": Refused(
        "time;a\n2024-01-01;1.234,5\n", ["'1.234,5'", "decimal: ','", "thousands: '.'"]
    ),
    "commas between thousands": Refused(
        'time,a\n2024-01-01,"1,234.5"\n', ["'1,234.5'", "thousands: ','"]
    ),
    "a comma that may be either": Refused(
        'time,a\n2024-01-01,"1,234"\n', ["'1,234'", "decimal: ','", "thousands: ','"]
    ),
    "blanks between thousands": Refused("time,a\n2024-01-01,1 234\n", ["'1 234'", "thousands"]),
    "a point where the comma is set": Refused(
        "time;a\n2024-01-01;1.5\n", ["'1.5'", "decimal: '.'"], {"decimal": ","}
    ),
    "thousands in groups of two": Refused(
        'time,a\n2024-01-01,"1,23"\n', ["'1,23' is not a number"], {"thousands": ","}
    ),
    "a percent sign": Refused("time,a\n2024-01-01,12%\n", ["'12%'", "without its unit"]),
    "a unit": Refused("time,a\n2024-01-01,3.4 kW\n", ["'3.4 kW'", "without its unit"]),
    "an infinite value": Refused("time,a\n2024-01-01,-inf\n", ["row 2", "infinite"]),
    "a number too large": Refused("time,a\n2024-01-01,1e999\n", ["row 2", "infinite"]),
    "nan that nobody named": Refused("time,a\n2024-01-01,NaN\n", ["'NaN'", "missing_values"]),
    "a flag that is none": Refused(
        "time,a\n2024-01-01,yes\n2024-01-02,maybe\n",
        ["row 3", "'a'", "'maybe'", "neither yes nor no"], {"flag": ["a"]},
    ),
    "a flag of two": Refused(
        "time,a\n2024-01-01,1\n2024-01-02,2\n", ["row 3", "neither yes nor no"], {"flag": ["a"]}
    ),
    "an empty item": Refused(
        "time,i,a\n2024-01-01,x,1\n2024-01-02,,1\n", ["row 3", "'i'", "item is empty"],
        {"item": "i"},
    ),
    # times
    "the day first": Refused(
        "time,a\n13.01.2024 10:00,1\n14.01.2024 11:00,1\n",
        ["row 2", "'13.01.2024 10:00'", "time_format: '%d.%m.%Y %H:%M'", "fits all rows"],
    ),
    "the month first": Refused("time,a\n1/13/2024,1\n1/14/2024,1\n", ["time_format: '%m/%d/%Y'"]),
    "day or month first": Refused(
        "time,a\n01/02/2024,1\n03/02/2024,1\n",
        ["nobody can tell", "'%d/%m/%Y'", "'%m/%d/%Y'"],
    ),
    "a row unlike the rows before it": Refused(
        "time,a\n2024-01-01,1\n02.01.2024,1\n", ["row 3", "'02.01.2024'", "'2024-01-01'", "alike"]
    ),
    "a foreign row unlike the rows before it": Refused(
        "time,a\n13.01.2024,1\n14.01.2024,1\n2024-01-15,1\n", ["row 4", "'2024-01-15'", "alike"]
    ),
    "seconds since 1970": Refused("time,a\n1704067200,1\n", ["'1704067200'", "unix_s"]),
    "milliseconds since 1970": Refused("time,a\n1704067200000,1\n", ["unix_ms"]),
    "a serial number of a spreadsheet": Refused("time,a\n45292.5,1\n", ["'45292.5'", "a number"]),
    "a day that no calendar has": Refused(
        "time,a\n2023-02-28,1\n2023-02-29,1\n", ["row 3", "'2023-02-29'", "no date"]
    ),
    "24 o'clock": Refused("time,a\n2024-01-01 24:00,1\n", ["'2024-01-01 24:00'", "next day"]),
    "a leap second": Refused("time,a\n2016-12-31 23:59:60,1\n", ["leap second"]),
    "the word now": Refused("time,a\nnow,1\n", ["row 2", "'now'", "ISO 8601"]),
    "the word today below dates": Refused("time,a\n2024-01-01,1\ntoday,1\n", ["row 3", "'today'"]),
    "an empty time": Refused("time,a\n2024-01-01,1\n,1\n", ["row 3", "the time is empty"]),
    "an offset in some rows": Refused(
        "time,a\n2024-01-01T00:00Z,1\n2024-01-02T00:00,2\n", ["row 3", "UTC offset"]
    ),
    "a time_format that does not fit": Refused(
        "time,a\n13.01.2024,1\n2024-01-14,1\n", ["row 3", "'2024-01-14'", "%d.%m.%Y"],
        {"time_format": "%d.%m.%Y"},
    ),
    "a time_format without a year": Refused(TWO, ["'%d.%m.'", "unix_s"], {"time_format": "%d.%m."}),
    "a time that the clock skips": Refused(
        "time,a\n2024-03-31 01:00,1\n2024-03-31 02:30,1\n",
        ["row 3", "2024-03-31 02:30", "does not exist in Europe/Berlin", "take out time_zone"],
        BERLIN,
    ),
    "an hour that comes twice without a zone": Refused(
        "time,a\n2024-10-27 02:00,1\n2024-10-27 02:00,2\n", ["rows 2 and 3", "set time_zone"]
    ),
    "two rows of one time": Refused(
        "time,a\n2024-01-01,1\n2024-01-02,1\n2024-01-01,2\n", ["rows 2 and 4", "duplicates: mean"]
    ),
    "an empty availability": Refused(
        "time,a,known\n2024-01-01,1,2024-01-02\n2024-01-02,1,\n",
        ["row 3", "'known'", "empty"], {"available_at": "known"},
    ),
}  # fmt: skip

READ = {
    "a byte order mark": Read("\ufeff" + TWO, [1, 2], DAYS),
    "UTF-16 of a spreadsheet": Read(TWO.encode("utf-16"), [1, 2], DAYS),
    "UTF-16, the high byte first": Read(b"\xfe\xff" + TWO.encode("utf-16-be"), [1, 2], DAYS),
    "latin-1": Read(
        "time;a;Stra\xdfe\n2024-01-01;1;x\n".encode("latin-1"), [1], None,
        {"encoding": "latin-1", "past": ["a"], "category": ["Stra\xdfe"]},
    ),
    "semicolons": Read("time;a\n2024-01-01;1\n", [1]),
    "tabs": Read("time\ta\n2024-01-01\t1\n2024-01-02\t\n", [1, NAN]),
    "bars": Read("time|a\n2024-01-01|1\n", [1]),
    "a delimiter that is set": Read("time^a\n2024-01-01^1\n", [1], None, {"delimiter": "^"}),
    "decimal commas": Read("time;a\n2024-01-01;-1,5\n", [-1.5], None, {"decimal": ","}),
    "thousands": Read(
        "time;a\n2024-01-01;1.234.567,5\n2024-01-02;12\n", [1234567.5, 12], None,
        {"decimal": ",", "thousands": "."},
    ),
    "thousands by narrow blanks": Read(
        "time,a\n2024-01-01,1\u202f234.5\n", [1234.5], None, {"thousands": " "}
    ),
    "line ends of Windows": Read(TWO.replace("\n", "\r\n"), [1, 2], DAYS),
    "line ends of an old Mac": Read(TWO.replace("\n", "\r"), [1, 2], DAYS),
    "no line end at the end": Read(TWO.rstrip("\n"), [1, 2], DAYS),
    "blank lines": Read("\ntime,a\n\n2024-01-01,1\n\n  \n2024-01-02,2\n\n", [1, 2], DAYS),
    "comments before the header": Read("# from the plant\n# kW\n" + TWO, [1, 2], DAYS),
    "a delimiter at the end of every row": Read("time,a\n2024-01-01,1,\n2024-01-02,2,\n", [1, 2]),
    "a delimiter at the end of every line": Read("time,a,\n2024-01-01,1,\n", [1]),
    "blanks around names and cells": Read("time , a\n 2024-01-01 , 1 \n", [1]),
    "quoted cells": Read('"time","a"\n"2024-01-01","1"\n', [1]),
    "a quoted cell of two lines": Read(
        'time,a,note\n2024-01-01,1,"one\ntwo, ""three"""\n2024-01-02,2,\n', [1, 2], DAYS,
        {"past": ["a"], "text": ["note"]},
    ),
    "a gzip": Read(gzip.compress(TWO.encode()), [1, 2], DAYS, {}, "load.csv.gz"),
    "an xz": Read(lzma.compress(TWO.encode()), [1, 2], DAYS, {}, "load.csv.xz"),
    "a zip of one": Read(zipped("a.csv"), [1, 2], DAYS, {}, "load.zip"),
    "a spike": Read("time,a\n2024-01-01,1e9\n", [1e9]),
    "values outside of the range": Read(
        "time,a\n2024-01-01,-1\n2024-01-02,5\n2024-01-03,11\n", [NAN, 5, NAN], None,
        {"valid_range": {"a": (0, 10)}},
    ),
    "flags of every kind": Read(
        "time,a\n2024-01-01,Yes\n2024-01-02,off\n2024-01-03,T\n2024-01-04,0\n2024-01-05,\n",
        [1, 0, 1, 0, NAN], None, {"flag": ["a"]},
    ),
    "missing numbers and words": Read(
        "time,a\n2024-01-01,-999\n2024-01-02,n/a\n2024-01-03,-999.0\n", [NAN, NAN, NAN], None,
        {"missing_values": (-999, "n/a")},
    ),
    "slashes, the year first": Read(
        "time,a\n2013/1/1 0:00,1\n2013/1/1 13:00,2\n", [1, 2],
        ["2013-01-01 00:00:00", "2013-01-01 13:00:00"],
    ),
    "points, the year first": Read("time,a\n2013.01.02,1\n", [1], ["2013-01-02 00:00:00"]),
    "digits alone": Read("time,a\n20130102,1\n", [1], ["2013-01-02 00:00:00"]),
    "years": Read("time,a\n2013,1\n2014,2\n", [1, 2], ["2013-01-01 00:00:00", "2014-01-01 00:00:00"]),
    "two blanks within a time": Read("time,a\n2013-01-02  9:00,1\n", [1], ["2013-01-02 09:00:00"]),
    "dates and times together": Read(
        "time,a\n2024-01-01,1\n2024-01-01 01:00,2\n", [1, 2],
        ["2024-01-01 00:00:00", "2024-01-01 01:00:00"],
    ),
    "a format of one's own": Read(
        "time,a\n01.02.2024 10:30,1\n", [1], ["2024-02-01 10:30:00"],
        {"time_format": "%d.%m.%Y %H:%M"},
    ),
    "seconds since 1970 that are named": Read(
        "time,a\n1704067200,1\n1704067200.5,2\n", [1, 2],
        ["2024-01-01T00:00:00.000000Z", "2024-01-01T00:00:00.500000Z"], {"time_format": "unix_s"},
    ),
    "the far past and future": Read(
        "time,a\n1677-01-01,1\n9999-12-31,2\n", [1, 2],
        ["1677-01-01 00:00:00", "9999-12-31 00:00:00"],
    ),
    "offsets of summer and winter": Read(
        "time,a\n2024-10-27 02:00+02:00,1\n2024-10-27 02:00+01:00,2\n", [1, 2],
        ["2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z"],
    ),
    "local times": Read("time,a\n2024-07-01 12:00,1\n", [1], ["2024-07-01T10:00:00Z"], BERLIN),
    "an hour that comes twice": Read(
        "time,a\n2024-10-27 01:00,0\n2024-10-27 02:00,1\n2024-10-27 02:00,2\n2024-10-27 03:00,3\n",
        [0, 1, 2, 3],
        [f"2024-10-{day}T{hour}:00:00Z" for day, hour in
         (("26", "23"), ("27", "00"), ("27", "01"), ("27", "02"))], BERLIN,
    ),
    "quarters of an hour that come twice, some missing": Read(
        "time,a\n2024-10-27 02:00,1\n2024-10-27 02:45,2\n2024-10-27 02:15,3\n2024-10-27 02:45,4\n",
        [1, 2, 3, 4],
        [f"2024-10-27T{clock}:00Z" for clock in ("00:00", "00:45", "01:15", "01:45")], BERLIN,
    ),
    "an hour that comes twice, the newest row first": Read(
        "time,a\n2024-10-27 03:00,3\n2024-10-27 02:00,2\n2024-10-27 02:00,1\n2024-10-27 01:00,0\n",
        [0, 1, 2, 3], None, BERLIN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_broken_file_is_refused_in_words(tmp_path: Path, case: Refused) -> None:
    path = write(tmp_path, case.data, case.name)
    with pytest.raises(DataError) as caught:
        read(path, **case.settings)
    assert case.name in str(caught.value) or "time_format" in str(caught.value)
    for word in case.words:
        assert word in str(caught.value)


@pytest.mark.parametrize("case", READ.values(), ids=READ)
def test_a_strange_file_is_read_right(tmp_path: Path, case: Read) -> None:
    table = read(write(tmp_path, case.data, case.name), **case.settings)
    np.testing.assert_array_equal(table.columns["a"], case.values)
    if case.times is not None:
        assert list(format_times(table.times, table.has_time_zone)) == case.times


def test_all_faults_of_all_kinds_are_told_at_once(tmp_path: Path) -> None:
    text = "time,i,a,b\n2024-01-01,x,1,1\nnever,,hot,inf\n"
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, text), item="i")
    assert len(str(caught.value).splitlines()) == 4


def test_rows_are_counted_over_blank_and_quoted_lines(tmp_path: Path) -> None:
    text = 'time,a,note\n\n2024-01-01,1,"one\ntwo"\n\n2024-01-02,hot,\n'
    with pytest.raises(DataError, match=r"row 6, column 'a': 'hot'"):
        read(write(tmp_path, text), past=["a"], text=["note"])


def test_names_in_the_config_may_have_blanks_too(tmp_path: Path) -> None:
    table = read(write(tmp_path, " time , a b \n2024-01-01,1\n"), time="time ", past=[" a b"])
    assert list(table.columns) == ["a b"]


def test_what_was_guessed_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    read(write(tmp_path, "# plant\ntime; a\n2024-01-01;-5\n"), valid_range={"a": (0, None)})
    for words in ("begins with #", "told apart by ';'", "blanks around", "1 values of column 'a'"):
        assert words in caplog.text


def test_a_comma_in_the_names_does_not_hide_the_delimiter(tmp_path: Path) -> None:
    table = read(write(tmp_path, "time;a, total, in kW\n2024-01-01;1\n"))
    assert list(table.columns) == ["a, total, in kW"]


# several files


def test_the_files_of_a_folder_are_items_named_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, "time,a\n2024-01-01,2\n", "sensors/b.csv")
    write(tmp_path, "time,b,a\n2024-01-01,9,1\n", "sensors/a.csv")
    write(tmp_path, "no table", "sensors/README.md")
    table = read(tmp_path / "sensors", item_from="file_name", past=["a"])
    assert table.items == ("a", "b")
    np.testing.assert_array_equal(table.columns["a"], [1, 2])
    assert table.source == str(tmp_path / "sensors")


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


# Parquet and data frames


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


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a Parquet file"):
        read(write(tmp_path, TWO, "load.parquet"))


def test_times_among_the_numbers_of_a_data_frame_are_refused() -> None:
    frame = pd.DataFrame({"time": ["2024-01-01"], "a": pd.to_datetime(["2024-01-01"])})
    with pytest.raises(DataError, match="column 'a': holds times, not numbers"):
        read(frame)


# availability and zones


def test_a_date_of_availability_counts_from_its_end(tmp_path: Path) -> None:
    text = "time,a,known\n2024-07-01,1,2024-07-02\n2024-07-02,1,2024-07-02 12:00\n"
    path = write(tmp_path, text)
    table = read(path, available_at="known")
    assert list(format_times(table.available, False)) == [
        "2024-07-03 00:00:00", "2024-07-02 12:00:00"
    ]  # fmt: skip
    local = read(path, available_at="known", **BERLIN)
    assert format_times(local.available, True)[0] == "2024-07-02T22:00:00Z"
    assert list(table.columns) == ["a"]


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


# words


def test_prose_keeps_its_blanks_and_names_do_not(tmp_path: Path) -> None:
    text = 'time,c,t\n2024-01-01, x ,"  Two\nlines. "\n2024-01-02,x,   \n'
    table = read(write(tmp_path, text), category=["c"], text=["t"])
    assert table.words("c").words == ("x",)
    assert table.words("t").words == ("  Two\nlines. ",)
    np.testing.assert_array_equal(table.words("t").codes, [0, -1])


def test_words_are_sorted_wherever_they_first_stand(tmp_path: Path) -> None:
    text = "time,c\n" + "".join(f"2024-01-{d:02d},{w}\n" for d, w in enumerate("cab", 1))
    table = read(write(tmp_path, text), category=["c"])
    assert table.words("c").words == ("a", "b", "c")
    np.testing.assert_array_equal(table.words("c").codes, [2, 0, 1])


# sinks


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
