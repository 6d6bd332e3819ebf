"""All streams joined into one table on the target's clock, as other tools want them.

A row of that table holds, besides the target's own columns, what was known of every other stream
when the row's period was over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.config import ExperimentConfig
from mmts.data.availability import row_ends
from mmts.data.config import Role
from mmts.data.dataset import Dataset
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.data.streams import Stream
from mmts.data.times import format_times

TIME, ITEM, FILE, AGE = "time", "item", "early.csv", " age"
HOUR = 3_600_000_000

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class JoinedColumn:
    """One column of the table for one item: its name, what it is, and a value per row."""

    name: str
    role: Role
    is_category: bool
    values: npt.NDArray[np.generic]


def write_early(
    dataset: Dataset, config: ExperimentConfig, folder: Path, one_table: bool
) -> dict[str, Any]:
    """Write the joined table and return the settings of an experiment that reads it.

    one_table: whether columns that are known ahead become future columns of the table, which is
    then the only stream. Else they are past columns there, like all others, and their streams
    stay beside it for the head, which reads them step by step as it does in every variant.
    The settings have no interactions.
    """
    schema = dataset.schema
    if schema.target.available_at is not None:
        raise ValueError("a target stream that says when its rows became known cannot be joined to")
    frames: list[pd.DataFrame] = []
    columns: dict[str, JoinedColumn] = {}
    for item, name in enumerate(dataset.items):
        joined = list(join_streams(dataset, item, one_table))
        times = dataset.streams[schema.target_stream].times(item).numpy()
        frame = pd.DataFrame({column.name: column.values for column in joined})
        frame.insert(0, TIME, format_times(times, schema.has_time_zone))
        frame.insert(1, ITEM, name)
        frames.append(frame)
        columns |= {column.name: column for column in joined}
    table = pd.concat(frames, ignore_index=True)
    # An age that is always the same tells nothing.
    constant = [name for name in columns if name.endswith(AGE) and table[name].nunique() < 2]
    columns = {name: column for name, column in columns.items() if name not in constant}
    path = folder / FILE
    table.drop(columns=constant).to_csv(path, index=False, float_format="%.8g")

    def of_role(role: Role) -> list[str]:
        return [name for name, column in columns.items() if column.role == role]

    settings = config.to_json()
    streams, encoders = settings["data"]["streams"], settings["model"]["encoders"]
    own = streams[schema.target_stream]
    beside = [
        name
        for name, stream in schema.streams.items()
        if stream.has_future and name != schema.target_stream and not one_table
    ]
    settings["data"]["streams"] = {
        schema.target_stream: {
            "path": str(path),
            "time": TIME,
            "item": ITEM,
            "target": of_role("target"),
            "past": of_role("past"),
            "future": of_role("future"),
            "category": [name for name, column in columns.items() if column.is_category],
            "context_length": schema.target.context_steps,
            "delay": own["delay"],
            "time_zone": own["time_zone"],
        },
        **{name: streams[name] for name in beside},
    }
    settings["model"]["encoders"] = {
        name: encoders[name] for name in (schema.target_stream, *beside)
    }
    settings["model"]["interactions"] = []
    return settings


def join_streams(dataset: Dataset, item: int, one_table: bool) -> Iterator[JoinedColumn]:
    """Yield all columns of the joined table for one item, on the scale of the training split.

    A past column holds the last value that was known at the end of the row's period, if it is no
    older than the stream's context, and one more column its age in hours. A future column holds
    the value for the row's own period. Prose is given by its features, and what is static stands
    in every row.
    """
    schema = dataset.schema
    target = dataset.streams[schema.target_stream]
    starts = target.times(item).numpy()
    ends = row_ends(starts, schema.clock)
    for name, stream in dataset.streams.items():
        for column, place in zip(stream.schema.columns, stream.schema.slices, strict=True):
            values = _rows_of(stream, item)[:, place]
            known_ahead = column.role == "future"
            age: npt.NDArray[np.float64] | None = None
            if name == schema.target_stream:
                found = values
            elif stream.schema.is_static:
                found = np.repeat(values[:1], len(starts), axis=0)
                found = found if len(found) else np.full((len(starts), values.shape[1]), np.nan)
            elif known_ahead:
                found = covering_rows(stream, item, values, starts, ends)
            else:
                found, age = last_known(stream, item, values, ends)
            role = column.role if name == schema.target_stream else "past"
            if known_ahead and one_table:
                role = "future"
            yield from _as_columns(name, column, role, found)
            if age is not None:
                yield JoinedColumn(f"{name} {column.name}{AGE}", "past", False, age)


def last_known(
    stream: Stream, item: int, values: npt.NDArray[np.float32], moments: Times
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return the last observed values known at each moment, and their age in hours.

    values: (row, channel) of one column. moments: (time,) int64 microseconds.
    Returns (time, channel) and (time,), NaN where nothing is known, or nothing young enough.
    """
    found = np.full((len(moments), values.shape[1]), np.nan, dtype=np.float32)
    age = np.full(len(moments), np.nan)
    rows = np.nonzero(np.isfinite(values).all(axis=1))[0]
    if not len(rows):
        return found, age
    starts = stream.times(item).numpy()
    available = known_from(stream, item)
    order = rows[np.argsort(available[rows], kind="stable")]
    # What was published late and speaks of an earlier time does not replace a later row.
    latest = np.maximum.accumulate(order)
    place = np.searchsorted(available[order], moments, side="right") - 1
    row = latest[place.clip(min=0)]
    elapsed = moments - starts[row]
    usable = (place >= 0) & (elapsed <= _span_of(stream.schema))
    found[usable] = values[row[usable]]
    age[usable] = elapsed[usable] / HOUR
    return found, age


def covering_rows(
    stream: Stream,
    item: int,
    values: npt.NDArray[np.float32],
    starts: Times,
    ends: Times,
) -> npt.NDArray[np.float32]:
    """Return the values of the rows in whose period each period begins, (time, channel).

    starts, ends: (time,) int64 microseconds. NaN where there is no such row, or where it says
    that it became known only after the period was over.
    """
    found = np.full((len(starts), values.shape[1]), np.nan, dtype=np.float32)
    own = stream.times(item).numpy()
    if not len(own):
        return found
    place = np.searchsorted(own, starts, side="right") - 1
    row = place.clip(min=0)
    usable = place >= 0
    if stream.schema.clock is not None:
        usable &= row_ends(own, stream.schema.clock)[row] > starts
    if stream.states_availability:
        usable &= known_from(stream, item)[row] <= ends
    found[usable] = values[row[usable]]
    return found


def known_from(stream: Stream, item: int) -> Times:
    """Return when each row of an item became known, (row,) int64 microseconds."""
    schema = stream.schema
    stated = stream.available[stream.rows(item)].numpy() if stream.states_availability else None
    if stated is not None and not schema.has_future:
        return stated
    over = row_ends(stream.times(item).numpy(), schema.clock or schema.days) + schema.delay
    return over if stated is None else np.maximum(over, stated)


def _rows_of(stream: Stream, item: int) -> npt.NDArray[np.float32]:
    """Return the values of an item, (row, channel), NaN where not observed."""
    rows = stream.rows(item)
    return np.where(stream.observed[rows].numpy(), stream.values[rows].numpy(), np.nan)


def _span_of(schema: StreamSchema) -> int:
    if schema.clock is None:
        return schema.context_span
    return schema.context_steps * schema.clock.longest


def _as_columns(
    stream: str, column: ColumnSchema, role: Role, values: npt.NDArray[np.float32]
) -> Iterator[JoinedColumn]:
    name = f"{stream} {column.name}"
    if column.type == "category":
        codes = values[:, 0]
        words = np.array(
            ["" if np.isnan(code) else f"c{int(code)}" for code in codes], dtype=object
        )
        yield JoinedColumn(name, role, True, words)
    elif column.width == 1:
        yield JoinedColumn(name, role, False, values[:, 0])
    else:
        for channel in range(column.width):
            yield JoinedColumn(f"{name} {channel}", role, False, values[:, channel])
