"""Scales, vocabularies and text features, fitted on what was known before the train cut."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from mmts.config_base import Config
from mmts.data.availability import row_availability
from mmts.data.cache.array_files import release
from mmts.data.calendar_features import vocabularies
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.data.table import Table, Words
from mmts.data.text.config import TextConfig
from mmts.data.text.embedding import EmbeddingCache
from mmts.data.text.features import TextFeatures, TextState, fit_text
from mmts.errors import DataError, raise_all

UNSEEN = 0
"""Code of a category that the train split does not hold; the known ones follow from 1."""

BLOCK = 1_000_000
"""Rows that are looked at together: what is needed besides the columns stays small."""

Rows = slice | npt.NDArray[np.intp]

logger = logging.getLogger(__name__)


class ColumnScaling(Config):
    """How one number column is standardised: (value - mean) / scale.

    furthest: how many scales from the mean any value of the train split lies; None where there was
    none, and in checkpoints before version 12.
    """

    mean: float
    scale: float = Field(gt=0)
    furthest: float | None = Field(None, ge=0)


class StreamScaling(Config):
    """What was learned from the train split about the columns of one stream.

    numbers: of columns of numbers. vocabularies: of categories that are not hashed. texts: of
        columns of prose; the numbers that belong to these are `arrays`, which are kept apart as
        they are no JSON: per column and name, such as `body.components`.
    Flags stay 0 and 1.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    numbers: dict[str, ColumnScaling]
    vocabularies: dict[str, tuple[str, ...]]
    texts: dict[str, TextState] = Field(default_factory=dict)
    arrays: dict[str, npt.NDArray[np.float32]] = Field(
        default_factory=dict, exclude=True, repr=False
    )

    def num_codes(self, column: ColumnSchema) -> int:
        """Return the largest code that a category can have."""
        return column.buckets or len(self.vocabularies[column.name])

    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every array that belongs to it."""
        return {
            f"{column}.{name}": shape
            for column, state in self.texts.items()
            for name, shape in state.shapes.items()
        }

    def with_arrays(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> StreamScaling:
        """Return it complete; raises ValueError when the arrays do not fit."""
        complete = self.model_copy(update={"arrays": dict(arrays)})
        for column in self.texts:
            complete.text_features(column)
        return complete

    def text_features(self, column: str) -> TextFeatures:
        """Return what turns the texts of a column into channels."""
        state = self.texts[column]
        own = {name: self.arrays[f"{column}.{name}"] for name in state.shapes}
        return TextFeatures.restore(state, own)

    def fits(self, columns: Sequence[ColumnSchema]) -> bool:
        """Whether it speaks of just these columns."""
        return (
            set(self.numbers) == {c.name for c in columns if c.type == "number"}
            and set(self.vocabularies)
            == {c.name for c in columns if c.type == "category" and c.buckets is None}
            and {name: state.config.dim for name, state in self.texts.items()}
            == {c.name: c.width for c in columns if c.type == "text"}
        )


def category_sizes(schema: StreamSchema, scaling: StreamScaling) -> dict[str, int]:
    """Return the largest code of each category column."""
    return {c.name: scaling.num_codes(c) for c in schema.columns if c.type == "category"}


def fit_scaling(
    table: Table,
    schema: StreamSchema,
    text_config: TextConfig,
    cut: int,
    cache: EmbeddingCache | None = None,
) -> StreamScaling:
    """Fit scales, vocabularies and text features on the rows that were known at the train cut.

    cut: int64 microseconds. cache: of embeddings of texts. A column that is constant there, or has
    no value, gets scale 1. Raises DataError, of all columns at once, where a spread is too large
    for any arithmetic.
    """
    known = table.counted()
    if table.times is not None:
        known &= row_availability(table, schema) <= cut
    numbers: dict[str, ColumnScaling] = {}
    names: dict[str, tuple[str, ...]] = {}
    texts: dict[str, TextState] = {}
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    faults: list[str] = []
    for column in schema.columns:
        if column.type == "number":
            try:
                numbers[column.name] = _fit_number(table, column.name, known)
            except DataError as error:
                faults.append(str(error))
        elif column.type == "category" and column.buckets is None:
            names[column.name] = tuple(sorted(_known_words(table, column.name, known)))
        elif column.type == "text":
            features = fit_text(text_config, _known_words(table, column.name, known), cache)
            if features.is_empty:
                logger.warning("%s: column %r has no text to learn from", table.source, column.name)
            texts[column.name] = features.state
            arrays |= {f"{column.name}.{name}": found for name, found in features.arrays.items()}
    raise_all(DataError, faults)
    return StreamScaling(numbers=numbers, vocabularies=names, texts=texts, arrays=arrays)


def calendar_scaling(schema: StreamSchema) -> StreamScaling:
    """Return what is known of the calendar without any data: it needs no scale."""
    assert schema.calendar is not None
    numbers = [column.name for column in schema.columns if column.type == "number"]
    return StreamScaling(
        numbers={name: ColumnScaling(mean=0.0, scale=1.0) for name in numbers},
        vocabularies=vocabularies(schema.calendar.features),
    )


def column_encoder(
    table: Table, column: ColumnSchema, scaling: StreamScaling, cache: EmbeddingCache | None = None
) -> Callable[[Rows], npt.NDArray[np.float32]]:
    """Return what turns some rows of a column into channels, (row, width) float32.

    Numbers are standardised, and words looked up in a table that is made once; NaN is missing.
    """
    values = table.columns[column.name]
    if isinstance(values, Words):
        codes, channels = values.codes, _channels_of_words(values, column, scaling, cache)
        # The code -1 of a gap finds the last row.
        looked_up = np.concatenate([channels, np.full((1, column.width), np.nan, np.float32)])
        return lambda rows: looked_up[codes[rows]]
    if column.type == "flag":
        return lambda rows: values[rows].astype(np.float32)[:, None]
    return _Standardised(values, scaling.numbers[column.name], f"{table.source}, {column.name!r}")


class _Standardised:
    """Standardises rows of a column of numbers; says once what is too large for float32."""

    def __init__(self, values: npt.NDArray[np.float64], number: ColumnScaling, place: str) -> None:
        self.values = values
        self.number = number
        self.place = place
        self.has_told = False

    def __call__(self, rows: Rows) -> npt.NDArray[np.float32]:
        values = self.values[rows]
        # In float64, as a large mean would leave nothing of the value in float32.
        scaled = (values - self.number.mean) / self.number.scale
        with np.errstate(over="ignore"):
            narrow = scaled.astype(np.float32)
        too_large = np.isinf(narrow)
        if too_large.any() and not self.has_told:
            self.has_told = True
            logger.warning(
                "%s: %g and others as far from the values of training are too large for any "
                "arithmetic, and count as missing",
                self.place,
                values[too_large][0],
            )
        # Like any other value that is no number.
        narrow[too_large] = np.nan
        return narrow[:, None]


def _fit_number(table: Table, name: str, known: npt.NDArray[np.bool_]) -> ColumnScaling:
    # Imported here because a forecast, which only applies plain numbers, does not need it.
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    values, least, greatest = table.numbers(name), np.inf, -np.inf
    for begin in range(0, len(known), BLOCK):
        block = values[begin : begin + BLOCK][known[begin : begin + BLOCK]]
        if not np.isnan(block).all():
            least = min(least, float(np.nanmin(block)))
            greatest = max(greatest, float(np.nanmax(block)))
            # What overflows is told below.
            with np.errstate(over="ignore", invalid="ignore"):
                scaler.partial_fit(block.reshape(-1, 1))
    release(values)
    if greatest < least:
        logger.warning("%s: column %r has no value to train on", table.source, name)
        return ColumnScaling(mean=0.0, scale=1.0)
    mean, scale = float(scaler.mean_[0]), float(scaler.scale_[0])
    if not np.isfinite(scale):
        raise DataError(
            f"{table.source}, column {name!r}: {max(abs(least), abs(greatest)):g} is too large to "
            "take the spread of the column. Correct it, or add it to missing_values of the stream "
            "if it stands for none."
        )
    furthest = max(greatest - mean, mean - least) / scale
    return ColumnScaling(mean=mean, scale=scale, furthest=max(0.0, furthest))


def _known_words(table: Table, name: str, known: npt.NDArray[np.bool_]) -> list[str]:
    """Return the distinct words in the rows that were known."""
    words = table.words(name)
    return [words.words[code] for code in np.unique(words.codes[known]) if code >= 0]


def _channels_of_words(
    words: Words, column: ColumnSchema, scaling: StreamScaling, cache: EmbeddingCache | None
) -> npt.NDArray[np.float32]:
    """Return what each word becomes, (word, width)."""
    if column.type == "text":
        return scaling.text_features(column.name).transform(words.words, cache)
    if column.buckets is not None:
        # The hash must be the same in every process and version: Python's own is not.
        codes = [zlib.crc32(word.encode()) % column.buckets + 1 for word in words.words]
    else:
        known = {name: code for code, name in enumerate(scaling.vocabularies[column.name], start=1)}
        codes = [known.get(word, UNSEEN) for word in words.words]
    return np.array(codes, dtype=np.float32).reshape(-1, 1)
