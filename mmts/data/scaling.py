"""Scalers and vocabularies: fitted on what was known before the train cut, kept as numbers."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmts.config_base import Config
from mmts.data.availability import row_availability
from mmts.data.calendar_features import vocabularies
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.data.table import Table, Words

UNSEEN = 0
"""Code of a category that the train split does not hold; the known ones follow from 1."""

BLOCK = 1_000_000
"""Rows that are looked at together: what is needed besides the columns stays small."""

Rows = slice | npt.NDArray[np.intp]

logger = logging.getLogger(__name__)


class ColumnScaling(Config):
    """How one number column is standardised: (value - mean) / scale."""

    mean: float
    scale: float = Field(gt=0)


class StreamScaling(Config):
    """What was learned from the train split about the columns of one stream.

    numbers: of columns of numbers. vocabularies: of categories that are not hashed.
    Flags stay 0 and 1.
    """

    numbers: dict[str, ColumnScaling]
    vocabularies: dict[str, tuple[str, ...]]

    def num_codes(self, column: ColumnSchema) -> int:
        """Return the largest code that a category can have."""
        return column.buckets or len(self.vocabularies[column.name])

    def fits(self, columns: Sequence[ColumnSchema]) -> bool:
        """Whether it speaks of just these columns."""
        return set(self.numbers) == {c.name for c in columns if c.type == "number"} and set(
            self.vocabularies
        ) == {c.name for c in columns if c.type == "category" and c.buckets is None}


def category_sizes(schema: StreamSchema, scaling: StreamScaling) -> dict[str, int]:
    """Return the largest code of each category column."""
    return {c.name: scaling.num_codes(c) for c in schema.columns if c.type == "category"}


def fit_scaling(table: Table, schema: StreamSchema, cut: int) -> StreamScaling:
    """Fit mean, scale and vocabulary on the rows that were known at the train cut.

    cut: int64 microseconds. A column that is constant there, or has no value, gets scale 1.
    """
    known = table.counted()
    if table.times is not None:
        known &= row_availability(table, schema) <= cut
    numbers, names = {}, {}
    for column in schema.columns:
        if column.type == "number":
            numbers[column.name] = _fit_number(table, column.name, known)
        elif column.type == "category" and column.buckets is None:
            words = table.words(column.name)
            codes = np.unique(words.codes[known])
            names[column.name] = tuple(sorted(words.words[code] for code in codes if code >= 0))
    return StreamScaling(numbers=numbers, vocabularies=names)


def calendar_scaling(schema: StreamSchema) -> StreamScaling:
    """Return what is known of the calendar without any data: it needs no scale."""
    assert schema.calendar is not None
    numbers = [column.name for column in schema.columns if column.type == "number"]
    return StreamScaling(
        numbers={name: ColumnScaling(mean=0.0, scale=1.0) for name in numbers},
        vocabularies=vocabularies(schema.calendar.features),
    )


def encode_column(
    table: Table, column: ColumnSchema, scaling: StreamScaling, rows: Rows
) -> npt.NDArray[np.float32]:
    """Standardise numbers, and replace words by codes, in some rows.

    Returns (row, width) float32, NaN where missing.
    """
    values = table.columns[column.name]
    if isinstance(values, Words):
        return _code_table(values, column, scaling)[values.codes[rows]][:, None]
    if column.type == "flag":
        return values[rows].astype(np.float32)[:, None]
    number = scaling.numbers[column.name]
    # In float64, as a large mean would leave nothing of the value in float32.
    scaled = (values[rows] - number.mean) / number.scale
    with np.errstate(over="ignore"):
        narrow = scaled.astype(np.float32)
    # What is too large for float32 is taken for missing, like any other value that is no number.
    narrow[np.isinf(narrow)] = np.nan
    return narrow[:, None]


def _fit_number(table: Table, name: str, known: npt.NDArray[np.bool_]) -> ColumnScaling:
    # Imported here because a forecast, which only applies plain numbers, does not need it.
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    values, fitted = table.numbers(name), False
    for begin in range(0, len(known), BLOCK):
        block = values[begin : begin + BLOCK][known[begin : begin + BLOCK]]
        if not np.isnan(block).all():
            scaler.partial_fit(block.reshape(-1, 1))
            fitted = True
    if not fitted:
        logger.warning("%s: column %r has no value to train on", table.source, name)
        return ColumnScaling(mean=0.0, scale=1.0)
    return ColumnScaling(mean=float(scaler.mean_[0]), scale=float(scaler.scale_[0]))


def _code_table(
    words: Words, column: ColumnSchema, scaling: StreamScaling
) -> npt.NDArray[np.float32]:
    """Return the code of each word, and NaN at the end, where the code -1 of a gap looks."""
    if column.buckets is not None:
        # The hash must be the same in every process and version: Python's own is not.
        codes = [zlib.crc32(word.encode()) % column.buckets + 1 for word in words.words]
    else:
        known = {name: code for code, name in enumerate(scaling.vocabularies[column.name], start=1)}
        codes = [known.get(word, UNSEEN) for word in words.words]
    return np.array([*codes, np.nan], dtype=np.float32)
