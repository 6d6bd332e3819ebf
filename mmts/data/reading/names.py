"""Cells that hold names, items or prose, read chunk by chunk: int32 codes and growing words."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.config import ReadingConfig
from mmts.data.reading.cells import factorize
from mmts.data.reading.faults import Faults, Rows
from mmts.data.reading.sinks import ColumnSink

_BLANKS = " \t\r\n\u00a0\u202f"

logger = logging.getLogger(__name__)


class NameReader:
    """Names of one column; prose keeps its blanks, names lose those at their ends.

    is_item: whether a cell must hold one, and no value stands for 'missing'.
    """

    def __init__(
        self, column: str, reading: ReadingConfig, sink: ColumnSink, *, is_item: bool = False,
        is_prose: bool = False,
    ) -> None:  # fmt: skip
        self._column = column
        self._sink = sink
        self._is_item = is_item
        self._is_prose = is_prose
        missing = () if is_item else reading.missing_values
        self._missing = {str(value) for value in missing} | {
            str(int(v)) for v in missing if isinstance(v, float) and v.is_integer()
        }
        self._codes: dict[str, int] = {}
        self._said_blanks = False

    def add(self, cells: pd.Series, rows: Rows, faults: Faults) -> None:
        """Read the cells of a chunk."""
        places: npt.NDArray[Any]
        if isinstance(cells.dtype, pd.CategoricalDtype):
            places, words = cells.cat.codes.to_numpy(), cells.cat.categories
        else:
            places, words = factorize(cells)
        used = np.zeros(len(words) + 1, dtype=bool)
        used[places] = True
        lookup = np.full(len(words) + 1, -1, dtype=np.int32)
        # In the order of the file, so that the same rows give the same codes.
        for place, word in enumerate(words):
            if used[place]:
                lookup[place] = self._code_of(word, rows.where)
        codes = lookup[places]
        if self._is_item:
            faults.add_mask(
                rows, codes < 0, self._column, "the item is empty",
                "Fill it in, or take out the row.", "item",
            )  # fmt: skip
        self._sink.append(codes)

    def add_constant(self, word: str, num_rows: int) -> None:
        """Add one name for all rows of a chunk."""
        code = self._codes.setdefault(word, len(self._codes))
        self._sink.append(np.full(num_rows, code, dtype=np.int32))

    def sorted_words(self) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
        """Return all words in their order, and the place there of each code; -1 at the end."""
        words = tuple(sorted(self._codes))
        places = np.full(len(words) + 1, -1, dtype=np.int32)
        for place, word in enumerate(words):
            places[self._codes[word]] = place
        return words, places

    def _code_of(self, cell: Any, where: str) -> int:
        written = _write(cell)
        word = written.strip(_BLANKS)
        if not word or word in self._missing:
            return -1
        if self._is_prose:
            word = written
        elif word != written and not self._said_blanks:
            self._said_blanks = True
            logger.info(
                "%s: blanks around the names in column %r are left out", where, self._column
            )
        return self._codes.setdefault(word, len(self._codes))


def _write(cell: Any) -> str:
    # A column of whole numbers with a gap, or after a detour, is one of floats to pandas.
    if isinstance(cell, (float, np.floating)) and cell.is_integer():
        return str(int(cell))
    return str(cell)
