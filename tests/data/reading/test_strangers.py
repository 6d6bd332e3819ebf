"""Tables from strangers, as large and as odd as they like: read right, or refused in words."""

from __future__ import annotations

import gzip
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmts.data.config import StreamConfig
from mmts.data.reading import blocks, parquet
from mmts.data.reading.dialect import not_utf8
from mmts.data.reading.reader import choose_columns, read_table
from mmts.data.table import Table
from mmts.errors import DataError
from tests.conftest import ROOT

HEAD = "time,x\n2024-01-01,1\n"


def read(path: Path, data: str | bytes, **stream: Any) -> Table:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    config = StreamConfig.model_validate({"path": "x", "time": "time", **stream})
    return read_table(path, config, choose_columns(path, config))


def refusal(path: Path, data: str | bytes, **stream: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, data, **stream)
    assert len(str(caught.value)) < 15_000
    return str(caught.value)


def test_a_hundred_thousand_columns_are_refused_unless_some_are_named(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    names = ",".join(f"c{number}" for number in range(100_000))
    data = f"time,x,{names}\n2024-01-01,1,{','.join('2' * 100_000)}\n"
    assert "100,002 columns, of which none is named" in refusal(path, data)
    assert read(path, data, past=["x", "c99999"]).columns["c99999"].tolist() == [2.0]


def test_very_many_columns_of_one_name_are_told_on_a_page(tmp_path: Path) -> None:
    names = ",".join(f"c{number % 20_000}" for number in range(40_000))
    said = refusal(tmp_path / "doubled.csv", f"time,{names}\n")
    assert "2 columns are named 'c0'" in said
    assert said.endswith("... and 19900 more such faults.")


@pytest.mark.parametrize("cell", ["z" * 10_000_000, "7" * 10_000_000, '"' + "z\n" * 100_000 + '"'])
def test_a_cell_that_fills_a_book_is_told_in_a_line(tmp_path: Path, cell: str) -> None:
    said = refusal(tmp_path / "long.csv", f"{HEAD}2024-01-02,{cell}\n", past=["x"])
    assert "row 3" in said
    assert len(said) < 2000


def test_a_cell_that_fills_a_book_may_be_prose(tmp_path: Path) -> None:
    words = read(tmp_path / "a.csv", f"{HEAD}2024-01-02,{'z' * 10_000_000}\n", text=["x"])
    assert len(words.words("x").words[1]) == 10_000_000


def test_names_that_mean_something_to_others_are_names(tmp_path: Path) -> None:
    names = ["__proto__", "constructor", "__class__", "=cmd|' /C calc'!A0"]
    table = read(tmp_path / "a.csv", f"time,{','.join(names)}\n2024-01-01,1,2,3,4\n", past=names)
    assert [float(table.numbers(name)[0]) for name in names] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("stamp", "stream"),
    [
        ("0000-01-01", {}),
        ("0001-01-01", {"time_zone": "Asia/Tokyo"}),
        ("9999-12-31 23:59:59", {"time_zone": "America/New_York"}),
        ("9999-12-31T23:00:00-14:00", {}),
        ("300000-01-01", {}),
        ("9e300", {"time_format": "unix_us"}),
        ("inf", {"time_format": "unix_ms"}),
    ],
)
def test_a_time_outside_of_all_calendars_is_refused(
    tmp_path: Path, stamp: str, stream: dict[str, Any]
) -> None:
    said = refusal(tmp_path / "a.csv", f"time,x\n{stamp},1\n", **stream)
    assert "row 2, column 'time'" in said


def test_a_row_that_is_never_known_may_say_so_by_the_last_day(tmp_path: Path) -> None:
    data = "time,known,x\n2024-01-01,9999-12-31,1\n2024-01-02,2024-01-03,2\n"
    table = read(
        tmp_path / "a.csv", data, past=["x"], available_at="known", time_zone="America/New_York"
    )
    assert table.available is not None
    assert pd.Timestamp(int(table.available[0]), unit="us").year == 9999


def test_what_pandas_once_wrote_beside_a_table_may_be_anything(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"time": ["2024-01-01"], "x": [1.0]}
    note = {b"pandas": b'{"index_columns": [, "columns'}
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata(note), path)
    config = StreamConfig(path="x", time="time", past=("x",))
    assert read_table(path, config, choose_columns(path, config)).numbers("x").tolist() == [1.0]


def test_a_header_is_not_looked_for_without_end(tmp_path: Path) -> None:
    assert "no header was found" in refusal(tmp_path / "a.csv", "#\n" * 200_000 + HEAD)
    assert "no header was found" in refusal(tmp_path / "a.csv", "a" * 9_000_000)


def test_bytes_that_are_not_utf8_are_shown_with_their_word_alone() -> None:
    data = b"x" * 200_000 + b"\xff" + b"y" * 200_000
    assert len(not_utf8("a.csv", 1, data, 200_000)) < 400


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe, config = tmp_path / "pipe.csv", StreamConfig(path="x", time="time", past=("x",))
    os.mkfifo(pipe)
    for path in (pipe, tmp_path / "folder.csv", Path("/dev/zero")):
        with pytest.raises(DataError):
            choose_columns(path, StreamConfig(path="x", time="time"))
        with pytest.raises(DataError):
            read_table(path, config, ())


IN_A_CHILD = """
import resource, sys
from mmts.data.config import StreamConfig
from mmts.data.reading.reader import choose_columns, read_table
from mmts.errors import DataError
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
room = mapped + (500 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for path in sys.argv[1:]:
    config = StreamConfig(path="x", time="time", past=("x",))
    try:
        read_table(path, config, choose_columns(path, config))
    except DataError as error:
        print(len(str(error)) < 15_000)
"""


def test_a_row_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("wb") as file:
        file.write(HEAD.encode() + b"2024-01-02,")
        for _ in range(9):
            file.write(b"1" * (1 << 23))
    config = StreamConfig(path="x", time="time", past=("x",))
    with pytest.raises(DataError, match="row 3: longer than"):
        read_table(path, config, choose_columns(path, config))


def test_a_quotation_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "LONGEST_ROW", 1 << 20)
    path = tmp_path / "quoted.csv"
    # Every line of it ends within quotation marks.
    path.write_text(HEAD + '2024-01-02,"' + 'a\n","' * (1 << 20))
    config = StreamConfig(path="x", time="time", past=("x",))
    with pytest.raises(DataError, match="row 3: longer than"):
        read_table(path, config, choose_columns(path, config))


@pytest.mark.parametrize("pattern", ["%Y-%m-%d %H:%M %Z", "%Z %Y-%m-%d"])
def test_names_of_zones_are_refused(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "named.csv"
    path.write_text("time,x\n2024-01-02 12:00 EST,1\n")
    config = StreamConfig(path="x", time="time", past=("x",), time_format=pattern)
    with pytest.raises(DataError, match="offsets by %z, and not %Z"):
        read_table(path, config, choose_columns(path, config))


def test_a_cell_that_is_nearly_a_number_is_read_in_one_go(tmp_path: Path) -> None:
    path = tmp_path / "nearly.csv"
    # Were there many ways to read it, this would take minutes.
    path.write_text(HEAD + "2024-01-02," + "1" * 100_000 + "x\n")
    config = StreamConfig(path="x", time="time", past=("x",))
    with pytest.raises(DataError, match="row 3"):
        read_table(path, config, choose_columns(path, config))


@pytest.mark.slow
def test_a_bomb_takes_no_more_memory_than_its_blocks(tmp_path: Path) -> None:
    for name, piece in (("zeros", b"\0"), ("row", b"1"), ("lines", b"\n"), ("header", b"a")):
        with gzip.open(tmp_path / f"{name}.csv.gz", "wb", compresslevel=1) as file:
            if name != "header":
                file.write(HEAD.encode())
            for _ in range(12):
                file.write(piece * (1 << 26))
    # Each unpacks to 800 MB: zeros, a row without end, blank lines, and a header without end.
    files = sorted(tmp_path.iterdir())
    command = [sys.executable, "-c", IN_A_CHILD, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    # A file that ends in blank lines is a table.
    assert done.stdout.split() == ["True"] * 3


def lengths_of(path: Path, names: list[str], num_rows: int = 1000) -> list[int]:
    return [len(frame) for frame in parquet.iterate_parquet(path, names, num_rows)]


def test_a_chunk_of_a_parquet_file_has_as_many_rows_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.parquet"
    texts = [f"{row} {'z' * 1000}" for row in range(500)]
    pd.DataFrame({"x": range(500), "text": texts}).to_parquet(path)
    monkeypatch.setattr(parquet, "CHUNK_BYTES", 50_000)
    lengths = lengths_of(path, ["x", "text"])
    assert sum(lengths) == 500
    assert 30 < max(lengths) < 60
    # What is not read takes no room.
    assert lengths_of(path, ["x"]) == [500]


def test_one_group_of_rows_of_a_parquet_file_does_not_decide_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "CHUNK_BYTES", 50_000)
    short = pa.table({"x": range(900), "text": ["a"] * 900})
    with pq.ParquetWriter(tmp_path / "a.parquet", short.schema) as writer:
        writer.write_table(short.slice(0, 0))
        writer.write_table(short)
        writer.write_table(pa.table({"x": [1, 2], "text": ["y" * 60_000, "z" * 60_000]}))
    assert lengths_of(tmp_path / "a.parquet", ["x", "text"]) == [900, 1, 1]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array([["a"], ["b"]]), "list<"),
        (pa.array([b"a", b"b"]), "binary"),
        (pa.array([b"a", b"b"], pa.binary(1)), "fixed_size_binary[1]"),
        (pa.array([{"a": 1}, {"a": 2}]), "struct<a: int64>"),
    ],
)
def test_what_no_cell_can_hold_is_refused(tmp_path: Path, cells: pa.Array, kind: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"time": ["2024-01-01", "2024-01-02"], "odd": cells}), path)
    with pytest.raises(DataError) as caught:
        lengths_of(path, ["time", "odd"])
    assert f"column 'odd' holds {kind}" in str(caught.value)


def test_a_damaged_parquet_file_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    words = [f"word {row % 7}" for row in range(300)]
    table = pa.table({"time": pd.date_range("2024-01-01", periods=300), "x": words})
    pq.write_table(table, path, compression="NONE")
    whole, generator = path.read_bytes(), random.Random(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in generator.sample(range(len(whole)), 3):
            damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            lengths_of(path, ["time", "x"])
        except DataError:
            refused += 1
    assert 20 < refused < 300


def test_bytes_that_are_no_text_are_refused_where_they_stand(tmp_path: Path) -> None:
    odd = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"]).buffers())
    pq.write_table(pa.table({"x": odd}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"cannot be read: .*UTF8"):
        lengths_of(tmp_path / "a.parquet", ["x"])


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (pa.date32(), 19_723_000, "column 'time': year 55969 is out of range"),
        (pa.timestamp("s"), 2**53, "row 1, column 'time': the time lies beyond the calendar"),
        (
            pa.timestamp("ms", "Asia/Kolkata"),
            -(2**62),
            "row 1, column 'time': the time lies beyond",
        ),
    ],
)
def test_times_that_no_calendar_has_are_refused(
    tmp_path: Path, kind: pa.DataType, value: int, said: str
) -> None:
    whole = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    times = pa.array([value, 3], whole).cast(kind)
    pq.write_table(pa.table({"time": times, "x": [1.0, 2.0]}), tmp_path / "a.parquet")
    config = StreamConfig(path="x", time="time", past=("x",))
    with pytest.raises(DataError, match=re.escape(said)):
        read_table(tmp_path / "a.parquet", config, choose_columns(tmp_path / "a.parquet", config))


def test_a_time_in_a_zone_of_a_year_that_python_does_not_know_is_a_word(tmp_path: Path) -> None:
    far = pa.array([2**53, 0], pa.int64()).cast(pa.timestamp("s", "Europe/Berlin"))
    columns = {"time": ["2024-01-01", "2024-01-02"], "word": far}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    config = StreamConfig(path="x", time="time", category=("word",))
    table = read_table(
        tmp_path / "a.parquet", config, choose_columns(tmp_path / "a.parquet", config)
    )
    assert table.words("word").words == ("1970-01-01 01:00:00+01:00", "285428751-11-12 07:36:32")


PEAK_OF_READING = """
import sys
from pathlib import Path

from mmts.data.config import StreamConfig
from mmts.data.reading.reader import choose_columns, read_table
from mmts.errors import DataError

path, role = sys.argv[1:]
keys = {"text": ["news"]} if role == "text" else {"available_at": "news"}
config = StreamConfig.model_validate({"path": "x", "time": "time", **keys})
try:
    table = read_table(path, config, choose_columns(path, config))
    print(len(table.words("news").words[-1]))
except DataError as error:
    print(len(str(error)))
# Of this process since it began; that of getrusage remembers the one it was forked from.
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory")
@pytest.mark.parametrize("role", ["text", "available_at"])
def test_a_text_that_a_parquet_file_holds_once_is_held_once(tmp_path: Path, role: str) -> None:
    path, num_rows = tmp_path / "a.parquet", 4000
    # Written out row by row, it is two gigabytes.
    words = pa.chunked_array([pa.array(["z" * 500_000] * 100)] * (num_rows // 100))
    times = pa.array(range(num_rows), pa.timestamp("s"))
    pq.write_table(pa.table({"time": times, "news": words}), path)
    assert path.stat().st_size < 2_000_000
    command = [sys.executable, "-c", PEAK_OF_READING, str(path), role]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    length, peak = map(int, done.stdout.split())
    assert (length == 500_000) if role == "text" else (length < 2000)
    assert peak < 800_000_000


def test_few_bytes_that_ask_for_a_dictionary_of_gigabytes_are_refused(tmp_path: Path) -> None:
    # Taken for the older format of LZMA, the second to fifth byte are the size of its dictionary.
    said = refusal(tmp_path / "load.csv.xz", b"6" + b"\xff" * 60)
    assert "load.csv.xz: cannot be read: " in said
