"""Which marks stand in the numbers of a file: before decimals, or between thousands.

1.049 and 1,049 may be a little more than one, or a thousand and some. What else stands in the
file tells: other decimals, or whole numbers below a thousand in the same column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from mmts.inspection.numbers import MISSING_WORDS, NumberStyle

Mark = Literal[".", ","]

_MOST_CELLS = 5000
"""Different cells of a column that are looked at."""

_FEWEST_SMALL = 2
"""Different whole numbers below 1000 by which those with a mark are thousands; one fills gaps."""

_SURE = 20
"""Different numbers of each kind from which a column contradicts decimals of other columns."""

_NUMBER = r"[-+]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class AmbiguousNumbers:
    """Numbers of which nobody can tell whether a mark parts decimals or thousands.

    column, cell: where such a number stands. why: what contradicts, if anything does.
    """

    column: str
    cell: str
    why: str = ""


@dataclass(frozen=True)
class _Evidence:
    """What the numbers of a file say of one mark; each is a column and a cell of it, or None.

    decimal: a number that is none with thousands. many: one of several groups, 1.049.000.
    mixed: one of a column with whole numbers below 1000. is_sure: whether that is no chance.
    grouped: any that may be one with thousands.
    """

    decimal: tuple[str, str] | None = None
    many: tuple[str, str] | None = None
    mixed: tuple[str, str] | None = None
    is_sure: bool = False
    grouped: tuple[str, str] | None = None

    @property
    def thousands(self) -> tuple[str, str] | None:
        """What tells that the mark parts thousands."""
        return self.many or self.mixed


def find_number_style(
    columns: Iterable[pd.Series], delimiter: str | None, decimal: Mark | None = None
) -> NumberStyle | AmbiguousNumbers:
    """Find decimal mark and thousands in the columns of one file.

    delimiter: what cuts the cells; None for a comma. decimal: the mark that the user names,
    which decides where numbers may be read in two ways.
    """
    numbers = {str(column.name): _numbers_of(column) for column in columns}
    cells = pd.concat(numbers.values()) if numbers else pd.Series(dtype="string")
    spaced = _find_spaced(cells)
    if spaced is not None:
        return spaced
    if _any_like(cells, r"[-+]?\d{1,3}(\.\d{3})+,\d+"):
        return NumberStyle(",", ".", "thousands are cut by dots")
    if _any_like(cells, r"[-+]?\d{1,3}(,\d{3})+\.\d+"):
        return NumberStyle(".", ",", "thousands are cut by commas")
    dot, comma = (_gather(numbers, mark) for mark in (".", ","))
    if decimal is not None and (dot.grouped or comma.grouped):
        return _as_told(decimal, dot, comma)
    return _weigh(dot, comma, delimiter)


def _numbers_of(column: pd.Series) -> pd.Series:
    cells = column.dropna().astype("string").drop_duplicates().iloc[:_MOST_CELLS]
    return cells[cells.str.contains(r"\d")]


def _any_like(cells: pd.Series, pattern: str) -> bool:
    return bool(cells.str.fullmatch(pattern).any())


def _find_spaced(cells: pd.Series) -> NumberStyle | None:
    for mark in ("'", " "):
        if _any_like(cells, rf"[-+]?\d{{1,3}}({mark}\d{{3}})+([.,]\d*)?"):
            decimal: Mark = "," if _any_like(cells, r"[-+]?[\d' ]+,\d+") else "."
            example = cells[cells.str.fullmatch(rf"[-+]?\d+{mark}[\d.,' ]+")].iloc[0]
            return NumberStyle(decimal, mark, f"as in {example}")
    return None


def _gather(numbers: dict[str, pd.Series], mark: Mark) -> _Evidence:
    """Gather what all columns say of a mark."""
    found = [_look(name, cells, mark) for name, cells in numbers.items()]
    mixed = sorted((e for e in found if e.mixed), key=lambda e: not e.is_sure)
    return _Evidence(
        next((e.decimal for e in found if e.decimal), None),
        next((e.many for e in found if e.many), None),
        mixed[0].mixed if mixed else None,
        bool(mixed) and mixed[0].is_sure,
        next((e.grouped for e in found if e.grouped), None),
    )


def _look(name: str, cells: pd.Series, mark: Mark) -> _Evidence:
    """Say what one column, each cell once, tells of a mark."""
    marked = cells[cells.str.contains(mark, regex=False) & cells.str.fullmatch(_NUMBER)]
    if marked.empty:
        return _Evidence()
    cut = re.escape(mark)
    is_grouped = marked.str.fullmatch(rf"[-+]?[1-9]\d{{0,2}}({cut}\d{{3}})+")
    grouped = marked[is_grouped]
    rest = marked[~is_grouped]
    decimals = rest[rest.str.fullmatch(rf"[-+]?(\d+{cut}\d*|{cut}\d+)([eE][-+]?\d+)?")]
    many = grouped[grouped.str.count(cut) > 1]
    whole = cells[cells.str.fullmatch(r"[-+]?\d+")].str.lstrip("+-").str.lstrip("0")
    small, large = whole[whole.str.len().between(1, 3)], whole[whole.str.len() > 3]
    others = cells[~cells.str.lower().isin(MISSING_WORDS)]
    is_mixed = (
        not grouped.empty
        and decimals.empty
        and large.empty
        and small.nunique() >= _FEWEST_SMALL
        and len(grouped) + len(whole) >= 0.9 * len(others)
    )
    return _Evidence(
        _first(name, decimals),
        _first(name, many),
        _first(name, grouped) if is_mixed else None,
        is_mixed and min(len(grouped), small.nunique()) >= _SURE,
        _first(name, grouped),
    )


def _first(name: str, cells: pd.Series) -> tuple[str, str] | None:
    return None if cells.empty else (name, str(cells.iloc[0]))


def _as_told(decimal: Mark, dot: _Evidence, comma: _Evidence) -> NumberStyle:
    other = dot if decimal == "," else comma
    thousands: Mark = "." if decimal == "," else ","
    is_cut = other.grouped is not None and other.decimal is None
    note = f"--decimal {decimal}"
    return NumberStyle(decimal, thousands if is_cut else None, note)


def _weigh(
    dot: _Evidence, comma: _Evidence, delimiter: str | None
) -> NumberStyle | AmbiguousNumbers:
    """Conclude from what is known of both marks."""
    for own, proof in ((dot, dot.decimal), (comma, None if dot.decimal else comma.decimal)):
        if proof is not None and own.mixed is not None and own.is_sure:
            why = f", as {proof[1]!r} in column {proof[0]!r} has decimals"
            return AmbiguousNumbers(*own.mixed, why)
    if dot.decimal is not None:
        # Where points are decimal marks, a comma between digits can only part thousands.
        if comma.grouped is not None and comma.decimal is None:
            return NumberStyle(".", ",", "thousands are cut by commas")
        return NumberStyle()
    if comma.decimal is not None:
        thousands: Literal["."] | None = None if dot.grouped is None else "."
        note = "thousands are cut by dots" if thousands else f"as in {comma.decimal[1]}"
        return NumberStyle(",", thousands, note)
    if dot.grouped is None and comma.grouped is None:
        return NumberStyle()
    return _weigh_grouped(dot, comma, delimiter)


def _weigh_grouped(
    dot: _Evidence, comma: _Evidence, delimiter: str | None
) -> NumberStyle | AmbiguousNumbers:
    """Conclude where each mark stands before three digits each time."""
    if dot.thousands is not None and comma.thousands is None:
        return NumberStyle(",", ".", _said_of(dot, dot.thousands))
    if comma.thousands is not None and dot.thousands is None:
        return NumberStyle(".", ",", _said_of(comma, comma.thousands))
    alone: Sequence[tuple[str, str]] = [e.grouped for e in (dot, comma) if e.grouped is not None]
    # Semicolons cut the cells where a comma is the decimal mark, and there only.
    if len(alone) > 1 or delimiter == ";":
        return AmbiguousNumbers(*alone[0])
    if comma.grouped is not None:
        return NumberStyle(".", ",", "a comma stands before three digits each time")
    said = f"as in {alone[0][1]}; where the dot parts thousands, put decimal: ',', thousands: '.'"
    return NumberStyle(".", None, said)


def _said_of(evidence: _Evidence, example: tuple[str, str]) -> str:
    if evidence.many is not None:
        return f"as in {example[1]}"
    return f"{example[1]} stands beside whole numbers below 1000"
