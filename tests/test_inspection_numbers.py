"""How `mmts init` reads numbers: marks of decimals and thousands, and stand-ins for no value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmts.inspection.number_marks import AmbiguousNumbers, find_number_style
from mmts.inspection.numbers import NumberStyle
from tests.test_inspection import Files, make_draft, make_stream, make_table, refusal_of


def style_of(*columns: list[str], delimiter: str | None = ";", **options: Any) -> tuple[str, Any]:
    """Return decimal mark and thousands of columns a, b, ..."""
    cells = [
        pd.Series(column, name=name, dtype="string")
        for name, column in zip("abcd", columns, strict=False)
    ]
    found = find_number_style(cells, delimiter, **options)
    assert isinstance(found, NumberStyle), found
    return found.decimal, found.thousands


def question_of(*columns: list[str], delimiter: str | None = ";") -> AmbiguousNumbers:
    cells = [
        pd.Series(column, name=name, dtype="string")
        for name, column in zip("abcd", columns, strict=False)
    ]
    found = find_number_style(cells, delimiter)
    assert isinstance(found, AmbiguousNumbers), found
    return found


# Thousands


@pytest.mark.parametrize(
    ("columns", "delimiter", "style"),
    [
        # Whole numbers below 1000 in the same column.
        ([["1.049", "863", "720"]], ";", (",", ".")),
        ([["1,049", "863", "720"]], "\t", (".", ",")),
        ([["1,049", "863", "720"]], "|", (".", ",")),
        ([["1,049", "863", "720"]], ";", (".", ",")),
        ([["1.049", "863", "720"]], None, (",", ".")),
        # Decimals of another column, or of the same.
        ([["1.500", "2.250"], ["12,5", "13,0"]], ";", (",", ".")),
        ([["1,500", "2,250"], ["12.5", "13.0"]], ";", (".", ",")),
        ([["1.500", "0.863"]], ";", (".", None)),
        ([["1.500", "1500.125"]], ";", (".", None)),
        ([["1.500", "2e-05", "1.5e-05"]], ";", (".", None)),
        # Several groups.
        ([["1.049.000", "2.500"]], ";", (",", ".")),
        # A zero or one other number that fills gaps proves nothing.
        ([["1.049", "0", "2.500"]], None, (".", None)),
        # Where the point is the decimal mark, three decimals are usual.
        ([["1.500", "2.250"]], None, (".", None)),
        ([["1,500", "2,250"]], "\t", (".", ",")),
        # Years and numbers of other columns are no evidence.
        ([["1.500", "0.125"], ["1,5"]], ";", (".", None)),
        ([["2021", "2022"], ["12.5"]], None, (".", None)),
    ],
)
def test_a_mark_before_three_digits_is_told_by_what_stands_beside(
    columns: list[list[str]], delimiter: str | None, style: tuple[str, str | None]
) -> None:
    assert style_of(*columns, delimiter=delimiter) == style


def test_what_may_be_decimals_or_thousands_is_asked_for() -> None:
    assert question_of(["1.500", "2.250"]).cell == "1.500"
    assert question_of(["1,500", "2,250"]).cell == "1,500"
    assert question_of(["1.500"], ["3,125"], delimiter=None).column == "a"
    mixed = [f"{n:,}".replace(",", ".") for n in range(900, 1100)]
    assert "as '12.5' in column 'b' has decimals" in question_of(mixed, ["12.5", "13.0"]).why


def test_the_user_decides_where_nobody_can_tell() -> None:
    assert style_of(["1.500", "2.250"], decimal=",") == (",", ".")
    assert style_of(["1.500", "2.250"], decimal=".") == (".", None)
    assert style_of(["1,500", "2,250"], decimal=",") == (",", None)
    assert style_of(["1,500", "2,250"], decimal=".") == (".", ",")


def test_a_german_file_is_read_in_thousands(tmp_path: Path) -> None:
    table = make_table(300, "h", temp=[f"{n % 31},{n % 10}" for n in range(300)])
    table["load"] = [f"{n:,}".replace(",", ".") for n in range(1500, 1800)]
    content = table.to_csv(index=False, sep=";")
    settings, _ = make_draft(tmp_path, {"plant.csv": content})
    stream = settings["data"]["streams"]["plant"]
    assert (stream["decimal"], stream["thousands"]) == (",", ".")
    assert "category" not in stream


def test_numbers_that_may_be_read_in_two_ways_are_refused_with_the_file(tmp_path: Path) -> None:
    table = make_table(300, "h", load=[f"{n:,}".replace(",", ".") for n in range(1500, 1800)])
    files: Files = {"plant.csv": table.to_csv(index=False, sep=";")}
    said = refusal_of(tmp_path, files)
    assert "column 'load': nobody can say whether '1.500' is 1500 or 1.500. Decide:" in said
    assert "--decimal '.' where '.' stands before decimals, --decimal ',' where it parts" in said
    assert "--decimal x: no decimal mark" in refusal_of(tmp_path, files, decimal="x")
    stream = make_stream(tmp_path, files, decimal=",")
    assert (stream.decimal, stream.thousands) == (",", ".")


def test_what_was_taken_for_decimals_is_said(tmp_path: Path) -> None:
    table = make_table(300, "h", load=[f"{n / 1000:.3f}" for n in range(1500, 1800)])
    _, draft = make_draft(tmp_path, table)
    assert "where the dot parts thousands, put decimal: ','" in draft.text


def test_zeros_and_ones_in_another_form_are_numbers(tmp_path: Path) -> None:
    table = make_table(300, "h", on=["1,0", "0,0", "1,0"] * 100)
    table["load"] = [f"1.{n},5" for n in range(200, 500)]
    stream = make_stream(tmp_path, {"plant.csv": table.to_csv(index=False, sep=";")})
    assert (stream.flag, stream.past) == ((), ("on",))


# Stand-ins for no value


def test_a_number_that_is_a_value_elsewhere_is_cut_off_by_a_range(tmp_path: Path) -> None:
    table = make_table(
        wind=np.arange(200.0) * 5 % 12,
        pressure=np.arange(200) * 7 % 30 + 985,
        depth=np.arange(200) * 4 % 9,
    )
    table.loc[[5, 60, 100], "wind"] = 999
    table.loc[[7, 8], "depth"] = -99
    settings, draft = make_draft(tmp_path, table)
    stream = settings["data"]["streams"]["plant"]
    assert stream["valid_range"] == {"wind": [None, 998]}
    assert stream["missing_values"] == [-99]
    assert "999 in 3 cells is no value here, and one in pressure" in draft.text


def test_a_number_that_is_no_value_in_two_columns_is_counted_in_both(tmp_path: Path) -> None:
    table = make_table(wind=np.arange(200.0) * 5 % 12, rain=np.arange(200) * 4 % 9)
    table.loc[[5, 60, 100], "wind"] = -99
    table.loc[[7, 8], "rain"] = -99
    settings, draft = make_draft(tmp_path, table)
    assert settings["data"]["streams"]["plant"]["missing_values"] == [-99]
    assert "'-99' in 5 cells" in draft.text


def test_a_word_that_is_a_name_elsewhere_is_refused(tmp_path: Path) -> None:
    table = make_table(sky=["clear", "none"] * 100)
    table["load"] = table["load"].astype(str)
    table.loc[[5, 60], "load"] = "none"
    said = refusal_of(tmp_path, table)
    assert (
        "'none' stands for no value in column 'load' (2 cells) and is a name in 'sky' (100" in said
    )
    assert "Write empty cells in 'load', or another word in 'sky'" in said


def test_a_word_that_means_no_value_everywhere_is_kept_and_said(tmp_path: Path) -> None:
    table = make_table(region=["EU"] * 100 + ["NA"] * 50 + ["ASIA"] * 50)
    table["load"] = table["load"].astype(str)
    table.loc[[5, 60], "load"] = "NA"
    settings, draft = make_draft(tmp_path, table)
    assert settings["data"]["streams"]["plant"]["missing_values"] == ["NA"]
    assert "'NA' in 52 cells" in draft.text
    assert "'NA' counts as no value in region as well" in " ".join(draft.found)
