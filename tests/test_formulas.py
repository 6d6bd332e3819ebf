"""Tables that we write: names stay as they came, and formulas among them are told."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mmts.files import write_table


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "-", "=1,2"]
)
def test_a_name_that_a_spreadsheet_would_run_is_kept_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    table = pd.DataFrame({"item_id": ["a", name, "=x"], "mean": [1.0, -2.0, 3.0]})
    write_table(tmp_path / "table.csv", table)
    read = pd.read_csv(tmp_path / "table.csv")
    assert read["item_id"].to_list() == ["a", name, "=x"]
    assert "(and 1 more) in column 'item_id' begins as a formula does" in caplog.text


def test_plain_names_and_negative_numbers_are_no_formulas(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = pd.DataFrame({"item_id": ["a=b", "-5", "+3.5", "x@y"], "mean": [-1.0, 2.0, 3.0, 4.0]})
    write_table(tmp_path / "table.csv", table)
    assert not caplog.text
