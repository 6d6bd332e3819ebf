"""Files as people have them: each read right, or refused with row, column, value and remedy."""

from __future__ import annotations

import gzip
import lzma
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmts.data.config import StreamConfig
from mmts.data.reading import zones
from mmts.data.reading.reader import choose_columns, read_table
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
    "names in a comment": Refused("# time,a\n2024-01-01,1\n", ["row 1", "begins with #"]),
    "a range of no column": Refused(
        TWO, ["'valid_range' names 'aa'", "'a'"], {"valid_range": {"aa": (0, 1)}}
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
    "a spreadsheet that tells its delimiter": Read("sep=;\ntime;a\n2024-01-01;1\n", [1]),
    "UTC in words": Read("time,a\n2024-01-01 09:00 UTC,1\n", [1], ["2024-01-01T09:00:00Z"]),
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
    "years": Read("time,a\n2013,1\n2024,2\n", [1, 2], ["2013-01-01 00:00:00", DAYS[0][:19]]),
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


@pytest.mark.parametrize("near", [1, 2, 1024])
def test_the_hour_that_comes_twice_is_told_apart_for_each_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: int
) -> None:
    # By the rows of an item beside that hour, wherever in the file they lie.
    monkeypatch.setattr(zones, "_NEAR", near)
    hours = ("01:00", "02:00", "02:00", "03:00")
    rows = [f"2024-10-27 {hour},{item},{at}" for at, hour in enumerate(hours) for item in "abc"]
    back = [f"2024-10-27 {hour},z,{at}" for at, hour in reversed(list(enumerate(hours)))]
    data = "\n".join(["time,item,a", back[0], *rows[:6], *back[1:3], *rows[6:], back[3], ""])
    table = read(write(tmp_path, data, "twice.csv"), item="item", **BERLIN)
    true = np.array([f"2024-10-{at}:00:00Z" for at in ("26T23", "27T00", "27T01", "27T02")])
    found = list(format_times(table.times, table.has_time_zone))
    assert found == true[table.columns["a"].astype(int)].tolist()


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
