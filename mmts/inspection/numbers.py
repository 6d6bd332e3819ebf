"""Numbers as people write them: decimal commas, thousands, and words that stand for no value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_UNIT = re.compile(r"^[$€£¥]\s*|\s*(%|°C|°F|[$€£¥]|kWh|MWh|kW|MW)$")

MISSING_WORDS = frozenset(
    (
        "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "nul", "missing", "unknown",
        "undefined", "void", "x", "-", "--", "---", ".", "..", "?", "*", "#value!", "#ref!",
        "#div/0!", "inf", "-inf", "+inf", "infinity", "-infinity", "no_data", "nodata", "no data",
    )
)  # fmt: skip
"""What is known to be written where a number is missing, in lower case."""

_SENTINELS = (-9, -99, -999, -9999, -99999, 999, 9999, 99999, 999999, -999.9, -99.9, 1e20)


@dataclass(frozen=True)
class NumberStyle:
    """How the numbers of one file are written; note: what that was concluded from."""

    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None
    note: str = ""

    def parse(self, cells: pd.Series) -> npt.NDArray[np.float64]:
        """Return cells as numbers, NaN where a cell is none or is infinite."""
        text = cells.astype("string")
        if self.thousands is not None:
            grouped = text.str.fullmatch(self._grouped(), na=False)
            text = text.where(~grouped, text.str.replace(self.thousands, "", regex=False))
        if self.decimal == ",":
            # A dot is then no decimal mark: 1.5 would be something else.
            text = text.mask(text.str.contains(".", regex=False, na=False))
            text = text.str.replace(",", ".", regex=False)
        values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isinf(values), np.nan, values)

    def _grouped(self) -> str:
        mark, decimal = re.escape(self.thousands or ""), re.escape(self.decimal)
        return rf"[-+]?\d{{1,3}}({mark}\d{{3}})+({decimal}\d*)?"


@dataclass(frozen=True)
class Numbers:
    """A column read as numbers.

    values: NaN where nothing is given. words: what stands for no value, with counts.
    sentinels: numbers that stand for none, with counts.
    """

    values: npt.NDArray[np.float64]
    words: dict[str, int] = field(default_factory=dict)
    sentinels: dict[float, int] = field(default_factory=dict)


def is_plain_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point."""
    return _PLAIN.fullmatch(cell.strip()) is not None


def read_numbers(cells: pd.Series, style: NumberStyle) -> Numbers | None:
    """Return a column as numbers, or None when it is no column of numbers.

    Other cells than numbers are taken for missing values when they are few and all alike, or
    when they are known to mean that.
    """
    values = style.parse(cells)
    filled = cells.notna().to_numpy()
    is_number = np.isfinite(values)
    if not is_number.any():
        return None
    counts = cells[filled & ~is_number].value_counts()
    words = {str(word): int(count) for word, count in counts.items()}
    known = all(word.lower() in MISSING_WORDS for word in words)
    alike = len(words) <= 3 and not any(re.search(r"\d", word) for word in words)
    # A few numbers among words are codes, such as 0, a and b.
    is_measured = is_number.sum() >= 0.9 * filled.sum() and len(np.unique(values[is_number])) > 9
    if words and not known and not (alike and is_measured):
        return None
    sentinels = _find_sentinels(values[is_number])
    values = np.where(np.isin(values, list(sentinels)), np.nan, values)
    return Numbers(values, words, sentinels)


def _find_sentinels(values: npt.NDArray[np.float64]) -> dict[float, int]:
    """Return numbers written in nines that lie farther off than all others lie apart."""
    found: dict[float, int] = {}
    for sentinel in _SENTINELS:
        count = int((values == sentinel).sum())
        rest = values[~np.isin(values, [sentinel, *found])]
        if not count or len(np.unique(rest)) < 3:
            continue
        spread = float(rest.max() - rest.min())
        distance = max(float(rest.min()) - sentinel, sentinel - float(rest.max()))
        # A single number above all others may be a true peak.
        if distance > spread and (count > 1 or sentinel < 0 <= rest.min()):
            found[float(sentinel)] = count
    return found


def has_unit(cells: pd.Series, style: NumberStyle) -> bool:
    """Whether a column holds numbers with a unit behind or before them, such as 12%."""
    filled = cells.dropna().iloc[:1000]
    bare = filled.str.replace(_UNIT, "", regex=True)
    return bool((bare != filled).any()) and bool(np.isfinite(style.parse(bare)).all())
