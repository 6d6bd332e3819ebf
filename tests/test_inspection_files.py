"""Files that `mmts init` opens: whatever the reader takes, and never more than memory holds."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmts.errors import DataError
from mmts.inspection.draft import draft_experiment
from mmts.inspection.raw_table import read_raw_table
from tests.test_inspection import (
    make_draft,
    make_sites,
    make_stream,
    make_table,
    refusal_of,
)


def text_of(folder: Path, name: str = "plant.parquet", *targets: str) -> str:
    return draft_experiment([folder / name], targets or ("load",), folder / "e.yaml").text


def test_a_time_that_is_the_index_of_a_frame_is_read(tmp_path: Path) -> None:
    make_table(300, "h").set_index("time").to_parquet(tmp_path / "plant.parquet")
    assert "time: time" in text_of(tmp_path)


@pytest.mark.parametrize("name", ["plant.PARQUET", "plant.zip", "plant.csv.GZ"])
def test_a_file_may_be_packed_and_named_in_capitals(tmp_path: Path, name: str) -> None:
    table = make_table(300, "h")
    content = table.to_csv(index=False).encode()
    if name.endswith("PARQUET"):
        table.to_parquet(tmp_path / name)
    elif name.endswith("zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("plant.csv", content)
    else:
        (tmp_path / name).write_bytes(gzip.compress(content))
    assert "frequency: 1h" in text_of(tmp_path, name)


def test_the_first_line_of_a_spreadsheet_tells_the_delimiter(tmp_path: Path) -> None:
    content = "sep=;\r\n" + make_table().to_csv(index=False, sep=";", lineterminator="\r\n")
    assert make_stream(tmp_path, {"plant.csv": content}).delimiter == ";"


def test_rows_may_end_in_a_delimiter_that_the_header_lacks(tmp_path: Path) -> None:
    header, *rows = make_table().to_csv(index=False).splitlines()
    content = "\n".join([header, *(f"{row}," for row in rows)])
    assert make_stream(tmp_path, {"plant.csv": content}).target == ("load",)


def test_rows_are_counted_with_the_lines_before_the_header(tmp_path: Path) -> None:
    table = make_table()
    table["time"] = table["time"].astype(str)
    table.loc[7, "time"] = "soon"
    content = "# by the gate\n\n# on monday\n" + table.to_csv(index=False)
    assert "row 12, column 'time': 'soon'" in refusal_of(tmp_path, {"plant.csv": content})


def test_what_is_no_table_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "plant.csv").write_text("# nothing but a comment\n")
    with pytest.raises(DataError, match="the file is empty"):
        text_of(tmp_path, "plant.csv")
    times = pa.array(pd.date_range("2023-01-01", periods=9))
    ones = pa.array(np.ones(9))
    pq.write_table(pa.table([times, ones, ones], ["time", "load", "load"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="2 columns are named 'load'"):
        text_of(tmp_path, "a.parquet")
    far = pa.array(np.full(9, 9_000_000, dtype=np.int32)).cast(pa.date32())
    pq.write_table(pa.table([times, ones, far], ["time", "load", "day"]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="column 'day': year 26611 is out of range"):
        text_of(tmp_path, "b.parquet")


def test_what_no_cell_can_hold_is_left_out(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(make_table(300, "h"))
    table = table.append_column("parts", pa.array([[1, 2]] * 300))
    pq.write_table(table, tmp_path / "plant.parquet")
    assert "Left out: parts (holds list" in text_of(tmp_path)


def test_whole_numbers_of_parquet_name_items_as_the_reader_does(tmp_path: Path) -> None:
    table = make_sites().assign(site=np.repeat([101.0, 102.0], 100))
    table.loc[100:, "load"] = np.nan
    table.to_parquet(tmp_path / "plant.parquet")
    assert 'exclude_items: ["102"]' in text_of(tmp_path)


def test_long_words_that_stand_in_parquet_once_take_little_memory(tmp_path: Path) -> None:
    rows = 60_000
    notes = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(rows, dtype=np.int32)), pa.array(["x" * 20_000])
    )
    times = pa.array(pd.date_range("2021-01-01", periods=rows, freq="min"))
    table = pa.table({"time": times, "load": np.arange(rows) % 97 * 1.0, "note": notes})
    pq.write_table(table, tmp_path / "plant.parquet")
    assert growth_of_memory(tmp_path / "plant.parquet") < 600


def test_a_packed_file_of_one_endless_row_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "plant.csv.gz", "wb") as file:
        file.write(b"time,load\n2021-01-01,1\n")
        for _ in range(40):
            file.write(b" " * 1_000_000)
    with pytest.raises(DataError, match="row 3: longer than 16,777,216 bytes"):
        text_of(tmp_path, "plant.csv.gz")


def test_of_a_packed_file_the_unpacked_bytes_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_table(400).assign(note="x" * 900).to_csv(index=False).encode()
    (tmp_path / "plant.csv.gz").write_bytes(gzip.compress(content))
    assert (tmp_path / "plant.csv.gz").stat().st_size < 30_000
    monkeypatch.setattr("mmts.inspection.raw_table.MOST_BYTES", 30_000)
    monkeypatch.setattr("mmts.inspection.raw_table.MOST_ROWS", 150)
    table = read_raw_table(tmp_path / "plant.csv.gz")
    assert (len(table.cells), table.is_partial) == (150, True)


def test_of_a_file_sorted_by_items_the_item_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmts.inspection.raw_table.MOST_BYTES", 1000)
    monkeypatch.setattr("mmts.inspection.raw_table.MOST_ROWS", 90)
    settings, draft = make_draft(tmp_path, make_sites())
    assert settings["data"]["streams"]["plant"]["item"] == "site"
    assert "the first 90 rows of 1 item looked at" in draft.text
    assert "only the first 90 rows were looked at" in " ".join(draft.found)


def growth_of_memory(path: Path) -> int:
    """Return by how many MB the peak of a new process grows while it looks at a file."""
    code = f"""
import resource, pathlib, pandas, pyarrow.parquet
from mmts.inspection.raw_table import read_raw_table
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
read_raw_table(pathlib.Path({str(path)!r}))
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)
