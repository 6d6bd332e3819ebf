"""Quarters, weeks and days that a spreadsheet counted: times to people, and to no time format."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from mmts.inspection.times import is_time_name

_LABELS = {
    r"(\d{4}|\d{2})[-/ ]?Q[1-4]|Q[1-4][-/ ]?(\d{4}|\d{2})": (
        "quarters", "the first day of each, such as 1990-01-01"
    ),
    r"\d{4}[-/ ]?(W|KW|CW)[-/ ]?\d{1,2}|(W|KW|CW)[-/ ]?\d{1,2}[-/ ]?\d{4}": (
        "weeks", "the first day of each, such as 2015-01-05"
    ),
}  # fmt: skip
_SERIALS = (20_000, 80_000)
"""Days since 1899 that lie between 1954 and 2119."""

_LEAST_SHARE = 0.9


def tell_label(cells: pd.Series, name: str) -> str | None:
    """Return in words what a column holds in place of times and what to do, or None."""
    filled = cells.dropna()
    if filled.empty:
        return None
    for pattern, (kind, remedy) in _LABELS.items():
        if filled.str.fullmatch(pattern, flags=re.IGNORECASE).mean() >= _LEAST_SHARE:
            return f"holds {kind}, such as {filled.iloc[0]}: write {remedy}."
    if is_time_name(name) and _counts_days(filled):
        day = pd.Timestamp("1899-12-30") + pd.Timedelta(days=_number(filled.iloc[0]))
        return (
            f"holds {filled.iloc[0]}, which is {day:%Y-%m-%d} where a spreadsheet counts days: "
            "show the cells there as dates before saving, such as 2021-01-01 00:00."
        )
    return None


def _number(cell: str) -> float:
    return float(cell.replace(",", "."))


def _counts_days(filled: pd.Series) -> bool:
    plain = filled[filled.str.fullmatch(r"\d{5}([.,]\d+)?")]
    if len(plain) < len(filled):
        return False
    days = plain.str.replace(",", ".", regex=False).astype(float).to_numpy(dtype=np.float64)
    return bool((days > _SERIALS[0]).all() and (days < _SERIALS[1]).all())
