"""What tables may have wrong beside one another, or beside what a model was trained on."""

from __future__ import annotations

import logging

import numpy as np

from mmts.data.config import DataConfig
from mmts.data.detection import (
    FoundClock,
    describe_row,
    faults_of_proportion,
    first_off_grid,
    item_with_other_period,
)
from mmts.data.schema import DataSchema
from mmts.data.table import Table
from mmts.errors import nearest

logger = logging.getLogger(__name__)


def faults_of_items(config: DataConfig, tables: dict[str, Table], schema: DataSchema) -> list[str]:
    """Say which items have no target, and which streams have items where the target has none."""
    problems = []
    target = tables[schema.target_stream]
    if target.items is None:
        problems += [
            f"data.streams.{name}.item: the target stream {schema.target_stream!r} has no items. "
            "Name its item column too, or take this one out."
            for name, stream in config.streams.items()
            if stream.has_items
        ]
    for column in schema.target_columns:
        values = target.numbers(column)
        if np.isnan(values[target.counted()]).all():
            problems.append(
                f"{target.source}, column {column!r}: the target has no value at all. "
                "Give a column that holds values."
            )
            continue
        problems += [
            f"{target.source}, column {column!r}: item {item!r} has no value of the target. "
            "Take out its rows, or list it under data.exclude_items."
            for item, rows in target.iterate_items()
            if np.isnan(values[rows]).all()
        ]
    return problems


def faults_of_clock(table: Table, name: str, schema: DataSchema) -> list[str]:
    """Say where the rows of a forecast do not stand on the clock of training."""
    stream = schema.streams[name]
    if table.times is None:
        return []
    place = f"{table.source}, column {stream.time!r}"
    if table.has_time_zone != schema.has_time_zone:
        had = "stated a UTC offset" if schema.has_time_zone else "had no UTC offset"
        return [f"{place}: the model was trained on times that {had}. Write them the same way."]
    if stream.clock is None:
        return []
    found = FoundClock(stream.clock, stream.stamp, stream.stamp_shift)
    far = faults_of_proportion(table, found, schema.time_zone)
    if far:
        return [f"{place}: {fault}" for fault in far]
    row = first_off_grid(table, found)
    if row is not None:
        stamp = describe_row(table, row, schema.time_zone)
        return [
            f"{place}: {stamp} does not stand on a grid of {stream.clock}, which stream {name!r} "
            "had in training. Correct the row, or take it out."
        ]
    other = item_with_other_period(table, found)
    if other is not None:
        logger.warning(
            "%s: rows mostly every %s, in training every %s: the places between are missing",
            table.source,
            other[1],
            stream.clock,
        )
    return []


def describe_absences(
    tables: dict[str, Table], items: tuple[str, ...], target: str
) -> tuple[str, ...]:
    """Say which items a stream does not know, and which of its items have no target.

    target: the stream that holds it.
    """
    notes = []
    known: dict[str, set[str]] = {}
    left_out: dict[str, list[str]] = {}
    for name, table in tables.items():
        if table.items is None:
            continue
        present = known[name] = set(table.items)
        absent = [item for item in items if item not in present]
        if absent:
            notes.append(f"stream {name!r} has no row of item {_listing(absent)}: absent there")
        for item in sorted(present - set(items)):
            left_out.setdefault(item, []).append(name)
    for streams in dict.fromkeys(map(tuple, left_out.values())):
        extra = [item for item, found in left_out.items() if tuple(found) == streams]
        # What is misspelt here is missing there under its right name.
        missing = [item for item in items if all(item not in known[name] for name in streams)]
        near = nearest(extra[0], missing, "") if len(extra) == 1 else ""
        hint = f" ({near.removeprefix('; ')})" if near else ""
        notes.append(
            f"stream {target!r} has no row of item {_listing(extra)}{hint}: left out of "
            f"{', '.join(streams)}"
        )
    return tuple(notes)


def _listing(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
