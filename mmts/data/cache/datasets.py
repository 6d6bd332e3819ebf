"""Laid-out streams of large files, so that the next start reads neither files nor tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mmts.data.cache.array_files import as_tensor
from mmts.data.cache.entries import Entry, EntryCache, EntryWriter
from mmts.data.cache.tables import digest_source, versions
from mmts.data.config import DataConfig
from mmts.data.scaling import StreamScaling
from mmts.data.schema import DataSchema
from mmts.data.splits import Split
from mmts.data.streams import Allocator, Stream, prepare_search

_VERSION = 3
"""To be raised when the same tables are to be laid out in another way."""

_LONG = ("values", "observed", "event_times", "available")
_SHORT = ("begin", "end", "first_time")


def describe_ingredients(
    config: DataConfig, sources: Mapping[str, Path], cache: EntryCache
) -> dict[str, Any]:
    """Return all that laid-out streams follow from: the files, and the settings of the data."""
    settings = config.model_dump(mode="json", exclude={"root", "cache", "cache_folder"})
    for stream in settings["streams"].values():
        stream.pop("path")
    return {
        "step": "dataset",
        "version": _VERSION,
        "versions": versions(
            "mmts", "pandas", "tzdata", "holidays", "scikit-learn", "wordllama", "tokenizers"
        ),
        "files": {
            name: digest_source(path, config.streams[name].item_from, cache)
            for name, path in sources.items()
        },
        "data": settings,
    }


class StreamStore:
    """Lays streams out in an entry of the cache as they are built."""

    def __init__(self, writer: EntryWriter) -> None:
        self.writer = writer
        self.made: set[str] = set()

    def allocator(self, stream: str) -> Allocator:
        """Return what makes the arrays of one stream."""

        def allocate(name: str, shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
            self.made.add(f"{stream}.{name}")
            return self.writer.create(f"{stream}.{name}", dtype, shape)

        return allocate

    def finish(
        self,
        schema: DataSchema,
        scaling: Mapping[str, StreamScaling],
        streams: Mapping[str, Stream],
        split: Split,
        words: Mapping[str, Any],
    ) -> Entry:
        """Publish everything; words: JSON that is kept beside it."""
        for name, stream in streams.items():
            for part in (*_LONG, *_SHORT):
                if f"{name}.{part}" not in self.made:
                    self.writer.append(f"{name}.{part}", getattr(stream, part).numpy())
            for part, array in scaling[name].arrays.items():
                self.writer.append(f"scaling {name}.{part}", array)
        return self.writer.finish(
            {
                "schema": schema.model_dump(mode="json"),
                "scaling": {name: found.model_dump(mode="json") for name, found in scaling.items()},
                "split": split.model_dump(mode="json"),
                **words,
            }
        )


def restore_schema(entry: Entry) -> DataSchema:
    """Return the schema in an entry."""
    return DataSchema.model_validate(entry.description["schema"])


def restore_split(entry: Entry) -> Split:
    """Return the split in an entry."""
    return Split.model_validate(entry.description["split"])


def restore_scaling(entry: Entry) -> dict[str, StreamScaling]:
    """Return what was fitted on the train split."""
    found = {}
    for name, described in entry.description["scaling"].items():
        scaling = StreamScaling.model_validate(described)
        arrays = {part: entry.arrays[f"scaling {name}.{part}"] for part in scaling.array_shapes()}
        found[name] = scaling.with_arrays(arrays)
    return found


def restore_streams(entry: Entry, schema: DataSchema) -> dict[str, Stream]:
    """Return the streams, whose long arrays stay on disk until they are looked at."""
    streams = {}
    for name, stream in schema.streams.items():
        part = {part: as_tensor(entry.arrays[f"{name}.{part}"]) for part in (*_LONG, *_SHORT)}
        mapped = Stream(
            schema=stream,
            values=part["values"],
            observed=part["observed"],
            begin=part["begin"],
            end=part["end"],
            first_time=part["first_time"],
            event_times=part["event_times"],
            available=part["available"],
        )
        streams[name] = replace(mapped, search=prepare_search(mapped))
    return streams
