"""Scalers and vocabularies: fitted on what was known before the train cut, kept as numbers."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmts.config_base import Config
from mmts.data.clocks import row_starts
from mmts.data.schema import StreamSchema
from mmts.data.tables import Table

UNSEEN = 0
"""Code of a category that the train split does not hold; the known ones follow from 1."""

logger = logging.getLogger(__name__)


class ColumnScaling(Config):
    """How one number column is standardised: (value - mean) / scale."""

    mean: float
    scale: float = Field(gt=0)


class StreamScaling(Config):
    """What was learned from the train split about the columns of one stream."""

    numbers: dict[str, ColumnScaling]
    vocabularies: dict[str, tuple[str, ...]]


def fit_scaling(table: Table, schema: StreamSchema, cut: int) -> StreamScaling:
    """Fit mean, scale and vocabulary on the rows that were known at the train cut.

    cut: int64 microseconds. A column that is constant there, or has no value, gets scale 1.
    """
    # Imported here because a forecast, which only applies plain numbers, does not need it.
    from sklearn.preprocessing import StandardScaler

    known = np.ones(len(table), dtype=bool)
    if table.times is not None:
        known = row_starts(table, schema) + schema.lag <= cut
    numbers, vocabularies = {}, {}
    for column in schema.columns:
        values = table.columns[column.name][known]
        if column.type == "category":
            vocabularies[column.name] = tuple(sorted({v for v in values if v is not None}))
        elif np.isnan(values.astype(np.float64)).all():
            logger.warning("%s: column %r has no value to train on", table.source, column.name)
            numbers[column.name] = ColumnScaling(mean=0.0, scale=1.0)
        else:
            scaler = StandardScaler().fit(values.astype(np.float64).reshape(-1, 1))
            numbers[column.name] = ColumnScaling(
                mean=float(scaler.mean_[0]), scale=float(scaler.scale_[0])
            )
    return StreamScaling(numbers=numbers, vocabularies=vocabularies)


def encode_columns(
    table: Table, schema: StreamSchema, scaling: StreamScaling
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Standardise numbers and replace categories by codes.

    Returns values (row, channel), zero where missing, and observed (row, channel).
    """
    values = np.zeros((len(table), len(schema.columns)), dtype=np.float32)
    observed = np.zeros(values.shape, dtype=bool)
    for channel, column in enumerate(schema.columns):
        raw = table.columns[column.name]
        if column.type == "category":
            observed[:, channel] = [name is not None for name in raw]
            vocabulary = scaling.vocabularies[column.name]
            codes = {name: code for code, name in enumerate(vocabulary, start=1)}
            values[:, channel] = [codes.get(name, UNSEEN) for name in raw]
        else:
            number = scaling.numbers[column.name]
            # In float64, as a large mean would leave nothing of the value in float32.
            scaled = (raw.astype(np.float64) - number.mean) / number.scale
            observed[:, channel] = np.isfinite(scaled)
            values[:, channel] = np.nan_to_num(scaled)
    return np.where(observed, values, np.float32(0)), observed
