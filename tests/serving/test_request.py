from pathlib import Path

import pandas as pd
import pytest

from mmts.errors import DataError
from mmts.serving.request import read_streams

FRAME = pd.DataFrame({"time": ["2024-01-01", "2024-01-02"], "load": [1.5, None]})


def test_a_frame_its_records_and_its_columns_are_the_same_stream() -> None:
    records = [{"time": "2024-01-01", "load": 1.5}, {"time": "2024-01-02", "load": None}]
    columns = {"time": ["2024-01-01", "2024-01-02"], "load": [1.5, None]}
    for rows in (FRAME, records, columns):
        pd.testing.assert_frame_equal(read_streams({"load": rows})["load"], FRAME)


def test_null_leaves_a_stream_out() -> None:
    assert list(read_streams({"load": FRAME, "weather": None})) == ["load"]


@pytest.mark.parametrize("path", ["/etc/passwd", "load.csv", Path("load.csv")])
def test_a_request_cannot_name_a_file_of_the_server(path: object) -> None:
    with pytest.raises(DataError, match=r"stream 'load': is .*, not a table"):
        read_streams({"load": path})


def test_every_fault_of_a_request_is_told_at_once() -> None:
    streams = {
        "load": [{"time": "2024-01-01"}, 7],
        "weather": {"time": ["2024-01-01"], "wind": [1.0, 2.0]},
        "plan": {"time": "2024-01-01"},
        "news": 3,
    }
    with pytest.raises(DataError) as caught:
        read_streams(streams)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for line, said in zip(
        lines,
        (
            "stream 'load': row 2 is a number, not a record.",
            "stream 'weather': its columns differ in length (time 1, wind 2).",
            "stream 'plan': column 'time' is text, not a list of its cells.",
            "stream 'news': is a number, not a table.",
        ),
        strict=True,
    ):
        assert line.startswith(said)
        assert "[{column: value}, ...]" in line
