"""All streams of an experiment, read, split and scaled; and the same for a forecast."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mmts.data.availability import NEVER
from mmts.data.cache.datasets import (
    StreamStore,
    describe_ingredients,
    restore_scaling,
    restore_schema,
    restore_split,
    restore_streams,
)
from mmts.data.cache.entries import ArrayCache, EntryCache
from mmts.data.cache.spoken import Spoken
from mmts.data.cache.tables import (
    cache_folder,
    choose_cache,
    load_table,
    require_unchanged,
)
from mmts.data.calendar_features import build_calendar, check_holidays
from mmts.data.config import DataConfig
from mmts.data.dataset_faults import describe_absences, faults_of_clock, faults_of_items
from mmts.data.detection import MAX_GRID_GROWTH
from mmts.data.findings.leaks import find_leaks
from mmts.data.gathering import WindowGatherer
from mmts.data.layout import build_schema, fit_schema
from mmts.data.reading.reader import choose_columns, require_trained_columns
from mmts.data.reading.sources import Source, of_stream
from mmts.data.scaling import StreamScaling, calendar_scaling, category_sizes, fit_scaling
from mmts.data.schema import DataSchema, StreamSchema
from mmts.data.source_files import stream_paths
from mmts.data.splits import SPLITS, Split, resolve_split
from mmts.data.streams import Stream, build_stream, empty_stream, in_memory
from mmts.data.table import Table
from mmts.data.times import format_times
from mmts.data.windows import Windows, list_origins
from mmts.errors import CacheError, DataError, nearest, raise_all

ONE_SERIES = "series"
"""The `item_id` of a target stream that has no item column."""

logger = logging.getLogger(__name__)

_LONGEST_CALENDAR = 20_000_000
"""Places that the calendar of all items may have for few rows as well: 231 days of seconds."""


@dataclass(frozen=True)
class Dataset:
    """What training and evaluation read.

    notes: what is unusual about the data, in words.
    """

    schema: DataSchema
    scaling: dict[str, StreamScaling]
    streams: dict[str, Stream]
    items: tuple[str, ...]
    split: Split
    notes: tuple[str, ...]

    @cached_property
    def origins(self) -> dict[str, Windows]:
        """The windows of each split.

        What a model is trained and chosen on was known when the next split begins.
        """
        target, found = self.streams[self.schema.target_stream], {}
        for name in SPLITS:
            begin, end = self.split.bounds(name)
            known_at = None if name == "test" else end
            found[name] = list_origins(target, self.schema, begin, end, known_at)
        return found

    @property
    def category_sizes(self) -> dict[str, dict[str, int]]:
        """The largest code of each category column, per stream."""
        return {
            name: category_sizes(stream, self.scaling[name])
            for name, stream in self.schema.streams.items()
        }

    def windows(self, split: str) -> WindowGatherer:
        """Return the windows of `train`, `validation` or `test`."""
        return WindowGatherer(self.schema, self.streams, self.origins[split])


def load_dataset(config: DataConfig) -> Dataset:
    """Read all files, settle the clocks, cut, and fit the scalers on the train split.

    Large files are parsed into memory maps that the next start finds again; see `data.cache`.
    Raises DataError with every fault of every file, and when a split is left without a window.
    """
    sources = stream_paths(config)
    cache = choose_cache(config, sources)
    if cache is not None and not _reads_a_model(config):
        try:
            return _load_through(cache, config, sources)
        except CacheError as error:
            logger.warning("going on without a cache: %s", error)
            cache = None
    return _prepare(config, sources, cache)


def _reads_a_model(config: DataConfig) -> bool:
    """Whether texts are embedded by a model that lies anywhere and may change under its name."""
    return any(
        stream.text and stream.text_features.kind == "sentence_transformer"
        for stream in config.streams.values()
    )


def _load_through(cache: EntryCache, config: DataConfig, sources: Mapping[str, Path]) -> Dataset:
    """Load what is in the cache, or put it there; what was said then is said again."""
    ingredients = describe_ingredients(config, sources, cache)
    entry = cache.load(ingredients)
    if entry is not None:
        logger.info("streams mapped from %s, laid out before", cache.folder)
        Spoken(entry.description["spoken"]).repeat()
    else:
        with cache.write(ingredients) as writer, Spoken() as spoken:
            store = StreamStore(writer)
            dataset = _prepare(config, sources, cache, store)
            before, now = (
                found["files"]
                for found in (ingredients, describe_ingredients(config, sources, cache))
            )
            changed = [str(path) for name, path in sources.items() if before[name] != now[name]]
            require_unchanged(before, now, ", ".join(changed))
            words = {"items": dataset.items, "notes": dataset.notes, "spoken": spoken.messages}
            entry = store.finish(
                dataset.schema, dataset.scaling, dataset.streams, dataset.split, words
            )
    schema = restore_schema(entry)
    return Dataset(
        schema=schema,
        scaling=restore_scaling(entry),
        streams=restore_streams(entry, schema),
        items=tuple(entry.description["items"]),
        split=restore_split(entry),
        notes=tuple(entry.description["notes"]),
    )


def _prepare(
    config: DataConfig,
    sources: Mapping[str, Path],
    cache: EntryCache | None,
    store: StreamStore | None = None,
) -> Dataset:
    """Read, settle, cut, fit and lay out; store: where to lay out, by default in memory."""
    columns, tables = {}, {}
    for name, stream in config.streams.items():
        if stream.holidays is not None:
            check_holidays(stream.holidays, f"data.streams.{name}.holidays")
    problems, present = [], set[str]()
    for name, path in sources.items():
        stream = config.streams[name]
        try:
            columns[name] = choose_columns(path, stream)
            table = load_table(path, stream, columns[name], cache)
            present |= set(table.items or ())
            tables[name] = _without_items(table, config)
        except DataError as error:
            problems.append(str(error))
    raise_all(DataError, problems)
    raise_all(
        DataError,
        (
            f"data.exclude_items: no stream has item {item!r}{nearest(item, present)} Take it out "
            "of the list, or correct its name."
            for item in dict.fromkeys(config.exclude_items)
            if item not in present
        ),
    )

    schema = build_schema(config, tables, columns)
    target = tables[schema.target_stream]
    raise_all(DataError, faults_of_items(config, tables, schema))
    items = _list_items(target)
    split = resolve_split(config.split, target, schema)
    notes = describe_absences(tables, items, schema.target_stream)
    # Nothing may be learned from items that have no target.
    tables = {name: table.select(items) for name, table in tables.items()}
    schema = fit_schema(schema, tables, split.validation)
    embeddings = _choose_embeddings(config)
    scaling = {
        name: calendar_scaling(stream)
        if stream.calendar is not None
        else fit_scaling(
            tables[name],
            stream,
            config.streams[name].text_features,
            split.validation,
            embeddings,
        )
        for name, stream in schema.streams.items()
    }
    streams = _build_streams(schema, scaling, tables, items, embeddings, store)
    notes += tuple(map(str, find_leaks(schema, streams, scaling)))
    for note in notes:
        logger.warning("%s", note)
    dataset = Dataset(schema, scaling, streams, items, split, notes)
    raise_all(DataError, _faults_of_split(dataset))
    return dataset


def _choose_embeddings(config: DataConfig) -> ArrayCache | None:
    """Return where embeddings of texts are kept: they are slow to make, however few there are."""
    pretrained = any(
        stream.text and stream.text_features.kind != "tfidf" for stream in config.streams.values()
    )
    if not pretrained or config.cache == "never":
        return None
    return ArrayCache(cache_folder(config) / "embeddings")


def load_streams(
    config: DataConfig,
    schema: DataSchema,
    scaling: dict[str, StreamScaling],
    sources: Mapping[str, Source],
) -> tuple[dict[str, Stream], tuple[str, ...]]:
    """Read streams for a forecast, as the checkpoint describes them.

    sources: a file or data frame per stream; a stream left out is absent for all items, and one
    that is made up from the calendar is there anyway.
    Returns the streams and the items, which are those of the target stream that the config does
    not exclude.
    Raises DataError for any fault in a source, and when the target stream is left out.
    """
    config = config.with_usual_cache()
    cache = choose_cache(config, sources)
    tables, problems = {}, []
    for name, source in sources.items():
        stream, source = config.streams[name], of_stream(source, name)
        try:
            require_trained_columns(source, schema.streams[name], stream)
            table = load_table(source, stream, schema.streams[name].columns, cache)
            table = _without_items(table, config)
            tables[name] = table
            problems += faults_of_clock(table, name, schema)
        except DataError as error:
            problems.append(str(error))
    raise_all(DataError, problems)
    if schema.target_stream not in tables:
        raise DataError(
            f"no data for stream {schema.target_stream!r}, which holds the target. Its past is "
            "what a forecast goes on from."
        )
    items = _list_items(tables[schema.target_stream])
    for note in describe_absences(tables, items, schema.target_stream):
        logger.warning("%s", note)
    return _build_streams(schema, scaling, tables, items, _choose_embeddings(config)), items


def _build_streams(
    schema: DataSchema,
    scaling: dict[str, StreamScaling],
    tables: dict[str, Table],
    items: tuple[str, ...],
    embeddings: ArrayCache | None,
    store: StreamStore | None = None,
) -> dict[str, Stream]:
    """Lay out all streams, in the order of the schema."""
    read = {
        name: build_stream(
            table,
            schema.streams[name],
            scaling[name],
            items,
            in_memory if store is None else store.allocator(name),
            embeddings,
        )
        for name, table in tables.items()
    }
    target = read[schema.target_stream]
    return {
        name: read[name]
        if name in read
        else empty_stream(stream, len(items))
        if stream.calendar is None
        else _calendar_stream(stream, scaling[name], target, schema, items)
        for name, stream in schema.streams.items()
    }


def _calendar_stream(
    stream: StreamSchema,
    scaling: StreamScaling,
    target: Stream,
    schema: DataSchema,
    items: tuple[str, ...],
) -> Stream:
    """Make up the calendar from the first row of any item to the last possible horizon."""
    assert stream.calendar is not None
    present = target.begin < target.end
    starts, lengths = target.first_time[present], (target.end - target.begin)[present]
    first = starts.min()
    known = int((schema.clock.advance(starts, lengths) + schema.target.delay).max())
    published = target.available[target.available < NEVER]
    if target.states_availability and len(published):
        known = max(known, int(published.max()))
    # Two periods more than needed: origins, and items, may stand between the places of this grid.
    count = int(schema.clock.elapsed(first, known)) + schema.horizon + 3
    if count > MAX_GRID_GROWTH * int(lengths.sum()) + _LONGEST_CALENDAR:
        ends = np.array([int(first), known])
        begin, end = format_times(ends, schema.has_time_zone, schema.time_zone)
        raise DataError(
            f"stream {schema.target_stream!r}: one calendar for all items, from {begin} to {end}, "
            f"would have {count:,} places of {schema.clock}. Correct years that are wrong, take "
            "out items that lie far from the others, or forecast them apart."
        )
    steps = torch.arange(count)
    edges = schema.clock.advance(first, steps).numpy()
    table = build_calendar(
        stream.calendar.features,
        stream.calendar.holidays,
        edges[:-1],
        edges[1:],
        schema.has_time_zone,
        schema.time_zone,
    )
    return build_stream(table, stream, scaling, items)


def _list_items(target: Table) -> tuple[str, ...]:
    return tuple(ONE_SERIES if item is None else item for item, _ in target.iterate_items())


def _without_items(table: Table, config: DataConfig) -> Table:
    if table.items is None or not config.exclude_items:
        return table
    kept = table.select(set(table.items) - set(config.exclude_items))
    if not kept.items:
        raise DataError(f"{table.source}: data.exclude_items leaves no item. Keep some.")
    return kept


def _faults_of_split(dataset: Dataset) -> list[str]:
    problems = []
    for name, first, last in dataset.split.dates(dataset.schema):
        if len(dataset.windows(name)) == 0:
            steps = dataset.schema.target.context_steps + dataset.schema.horizon
            problems.append(
                f"data.split: no window of the {name} split, {first} to {last}, has a full context "
                f"and horizon ({steps} steps) with a target value. Move the cuts, or shorten "
                "horizon or context_length."
            )
    return problems
