"""What is unusual about the values of one column."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmts.data.dataset import Dataset
from mmts.data.findings.coverage import Coverage
from mmts.data.findings.finding import Finding, say_count, say_stamp
from mmts.data.scaling import UNSEEN

MAX_SPREADS = 1_000
"""Distance from the median, in robust spreads, beyond which a value is called a spike."""

MIN_SPREADS, MIN_RATIO = 50, 10
"""Nearer ones too, beyond the first, when they are so many times as far as the next value."""

_MAX_SPIKES = 100
"""Values that may be spikes for being farther than the others: more are a part of the column."""

MIN_REPEATS = 5
"""How often a value far outside must be there to be called a stand-in for a missing one."""

MANY_NAMES = 500
"""Names of a category above which hashing them is advised."""

_USUAL_STAND_INS = (-1.0, -9.0, -99.0, -99.9, -999.0, -999.9, -9999.0, -99999.0,
                    99.0, 99.9, 999.0, 999.9, 9999.0, 99999.0)  # fmt: skip
_MIN_DISTANCE, _USUAL_DISTANCE = 20.0, 4.0
"""Spreads between a stand-in and the nearest other value; fewer for a usual one."""

_SAMPLE = 1_000_000
"""Values from which median and spread are taken, so that a long column takes no longer."""

Floats = npt.NDArray[np.float64]


class _Middle(NamedTuple):
    median: float
    spread: float


def find_in_column(
    dataset: Dataset, name: str, coverage: Coverage, place: int, known_in_train: bool
) -> Iterator[Finding]:
    """Find what is unusual about one column of a stream.

    known_in_train: whether the stream has any value in the train split; where it has none, its
    columns need not each say so.
    """
    schema = coverage.stream.schema
    column, observed = schema.columns[place], coverage.observed[:, place]
    if not observed.any():
        yield Finding(
            "empty column", name, column.name, "holds no value at all. Take it out of the stream."
        )
        return
    in_train = (
        observed if schema.is_static else observed & (coverage.starts < dataset.split.validation)
    )
    if known_in_train and not in_train.any():
        first = say_stamp(dataset.schema, coverage.stream, int(coverage.starts[observed].min()))
        yield Finding(
            "no value in train",
            name,
            column.name,
            f"holds no value in the train split, the first is of {first}, so that nothing is "
            "learned from it. Take it out, or move data.split.",
        )
    if column.type == "text":
        return
    values = coverage.values(place)
    rows = np.flatnonzero(observed)
    known = values[rows]
    if len(known) > 1 and known.min() == known.max():
        yield Finding(
            "constant column",
            name,
            column.name,
            f"is {_say_value(coverage, place, known[0])} in all of its {len(known):,} values, and "
            "tells nothing. Take it out.",
        )
    elif column.type == "number" and not schema.is_static:
        yield from _far_values(dataset, name, coverage, place, rows, known)
    if column.type == "category":
        yield from _names(dataset, name, coverage, place, rows, known)


def _far_values(
    dataset: Dataset,
    name: str,
    coverage: Coverage,
    place: int,
    rows: npt.NDArray[np.intp],
    known: Floats,
) -> Iterator[Finding]:
    column = coverage.stream.schema.columns[place].name
    path = f"data.streams.{name}"
    say = partial(say_number, coverage, place)
    middle = _middle(known)
    if middle.spread == 0:
        return
    while (value := _stand_in(known, middle)) is not None:
        found = known == value
        yield Finding(
            "stand-in for missing",
            name,
            column,
            f"{say(value)} stands in {say_count(int(found.sum()), 'row')}, outside of all "
            f"other values ({say(known[~found].min())} to {say(known[~found].max())}), first at "
            f"{say_row(dataset, coverage, int(rows[found.argmax()]))}. If it means 'no value', add "
            f"it to {path}.missing_values.",
        )
        rows, known = rows[~found], known[~found]
        middle = _middle(known)
        if middle.spread == 0:
            return
    distances = np.abs(known - middle.median)
    far = distances >= _first_spike(distances, middle.spread)
    if far.any():
        first = int(far.argmax())
        yield Finding(
            "spike",
            name,
            column,
            f"{say_count(int(far.sum()), 'value')} far outside of the others "
            f"({say(known[~far].min())} to {say(known[~far].max())}); first {say(known[first])} at "
            f"{say_row(dataset, coverage, int(rows[first]))}. If that is no reading, set "
            f"{path}.valid_range for {column!r}, or add it to {path}.missing_values as it stands "
            "in the file.",
        )


def _first_spike(distances: Floats, spread: float) -> float:
    """Return the distance from the median at which spikes begin; infinite where there is none."""
    farthest = np.sort(
        np.partition(distances, -min(_MAX_SPIKES + 1, len(distances)))[-_MAX_SPIKES - 1 :]
    )
    alone = (farthest[1:] > MIN_RATIO * farthest[:-1]) & (farthest[1:] > MIN_SPREADS * spread)
    beyond = distances[distances > MAX_SPREADS * spread]
    return min(float(farthest[1:][alone].min(initial=np.inf)), float(beyond.min(initial=np.inf)))


def _stand_in(known: Floats, middle: _Middle) -> float | None:
    """Return the least or greatest value where it is repeated, and far from all others."""
    for extreme in (float(known.min()), float(known.max())):
        found = known == extreme
        # Some columns of counts or flags are hardly ever anything but one value.
        if not MIN_REPEATS <= found.sum() < len(known) // 2:
            continue
        others = known[~found]
        distance = float(np.abs(others - extreme).min())
        usual = bool(np.isclose(extreme, _USUAL_STAND_INS, rtol=1e-5).any())
        if usual and _breaks_off(known, extreme, middle.spread):
            return extreme
        if distance > (_USUAL_DISTANCE if usual else _MIN_DISTANCE) * middle.spread:
            return extreme
    return None


def _breaks_off(known: Floats, extreme: float, spread: float) -> bool:
    """Tell whether the only value below zero comes out of the blue, as no temperature does."""
    found = known == extreme
    others = known[~found]
    if extreme >= 0 or others.min() <= extreme / 100 or len(np.unique(others)) < MIN_REPEATS:
        return False
    # The values before and after, which stand beside it in the file.
    beside = np.zeros(len(known), dtype=bool)
    beside[:-1] |= found[1:]
    beside[1:] |= found[:-1]
    steps = known[beside & ~found] - extreme
    return len(steps) > 0 and float(np.median(steps)) > spread / 2


def _middle(known: Floats) -> _Middle:
    """Return median and robust spread: of a normal distribution, its standard deviation.

    Where half of the values or more are the same, such as no rain, the spread is the median
    distance of the others.
    """
    sample = known[:: max(1, len(known) // _SAMPLE)]
    low, median, high = np.quantile(sample, (0.25, 0.5, 0.75))
    spread = (high - low) / 1.349
    if spread == 0:
        others = np.abs(sample - median)
        others = others[others > 0]
        spread = float(np.median(others)) if len(others) else 0.0
    return _Middle(float(median), float(spread))


def _names(
    dataset: Dataset,
    name: str,
    coverage: Coverage,
    place: int,
    rows: npt.NDArray[np.intp],
    known: Floats,
) -> Iterator[Finding]:
    column, starts = coverage.stream.schema.columns[place], coverage.starts
    if column.buckets is not None:
        return
    num_names = len(coverage.scaling.vocabularies[column.name])
    remedy = f"data.streams.{name}.hash_buckets, such as {{{column.name}: 64}}"
    if num_names > MANY_NAMES:
        yield Finding(
            "many names",
            name,
            column.name,
            f"has {num_names:,} names in the train split, each with weights of its own. To share "
            f"these set {remedy}.",
        )
    unseen = starts[rows[known == UNSEEN]]
    if len(unseen):
        counts = {
            split: int(((unseen >= first) & (unseen < end)).sum())
            for split in ("validation", "test")
            for first, end in (dataset.split.bounds(split),)
        }
        later = (
            f"{counts['validation']:,} in the validation and {counts['test']:,} in the test split"
        )
        yield Finding(
            "unseen names",
            name,
            column.name,
            f"{say_count(len(unseen), 'row')} hold a name that the train split does not ({later}); "
            f"these are all read as one unknown name. If names come and go, set {remedy}.",
        )


def say_row(dataset: Dataset, coverage: Coverage, row: int) -> str:
    """Name the time of a row, and its item."""
    stamp = say_stamp(dataset.schema, coverage.stream, int(coverage.starts[row]))
    if not coverage.stream.schema.has_items:
        return stamp
    return f"{stamp} ({dataset.items[coverage.items[row]]})"


def say_number(coverage: Coverage, place: int, value: float) -> str:
    """Write a number of a column without the digits that its rounding to float32 has left."""
    number = coverage.scaling.numbers[coverage.stream.schema.columns[place].name]
    rounding = float(np.finfo(np.float32).eps) * (abs(value - number.mean) + number.scale)
    # 0 is added as nobody writes -0.
    return f"{round(float(value), math.floor(-math.log10(4 * rounding))) + 0.0:.7g}"


def _say_value(coverage: Coverage, place: int, value: float) -> str:
    column = coverage.stream.schema.columns[place]
    if column.type == "flag":
        return "true" if value else "false"
    names = coverage.scaling.vocabularies.get(column.name)
    if names is not None:
        return repr(names[int(value) - 1]) if value != UNSEEN else "an unknown name"
    return say_number(coverage, place, value)
