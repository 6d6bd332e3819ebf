"""An example of a request, from the end of the data that a model was trained on."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from mmts.checkpoint import CheckpointInfo
from mmts.data.config import StreamConfig
from mmts.data.reading.chunks import CellKind, iterate_chunks
from mmts.data.reading.sources import Source
from mmts.data.reading.stamps import UNIX
from mmts.data.schema import StreamSchema
from mmts.data.source_files import stream_paths
from mmts.errors import DataError

MOST_ROWS = 100
"""Of a stream in an example, which people read."""

logger = logging.getLogger(__name__)

Records = list[dict[str, Any]]


def make_example(info: CheckpointInfo) -> dict[str, Records] | None:
    """Return the last rows of one item in each stream of training, as JSON takes them.

    Cells are as the files write them. None, with a warning, when the files are not there any more,
    or when a stream takes its items from the names of files, which a request has not.
    """
    config = info.config.data
    by_file = [name for name, stream in config.streams.items() if stream.item_from != "column"]
    if by_file:
        logger.warning(
            "streams %s take their items from the names of files: `mmts forecast` can use the "
            "model, but a request to a server cannot hold such a stream",
            ", ".join(by_file),
        )
        return None
    paths = stream_paths(config)
    target = info.data_schema.target_stream
    try:
        item = _last_item(paths[target], config.streams[target])
        return {
            name: _last_rows(path, config.streams[name], info.data_schema.streams[name], item)
            for name, path in paths.items()
        }
    except DataError as error:
        logger.warning("the model is kept without an example of a request: %s", error)
        return None


def _last_item(source: Source, stream: StreamConfig) -> str | None:
    """Return the item of the last row as the file writes it; None where there are none."""
    if stream.item is None:
        return None
    last = None
    for chunk in iterate_chunks(source, {stream.item.strip(): "key"}, stream):
        cells = chunk.columns[stream.item.strip()]
        last = str(cells.iloc[-1]) if len(cells) else last
    return last


def _last_rows(
    source: Source, stream: StreamConfig, schema: StreamSchema, item: str | None
) -> Records:
    kinds: dict[str, CellKind] = {}
    if stream.time is not None:
        kinds[stream.time.strip()] = "number" if stream.time_format in UNIX else "key"
    if stream.item is not None:
        kinds[stream.item.strip()] = "key"
    if stream.available_at is not None:
        kinds[stream.available_at.strip()] = "number" if stream.time_format in UNIX else "key"
    for column in schema.columns:
        kinds[column.name] = "number" if column.type in ("number", "flag") else "word"
    most = min(MOST_ROWS, schema.num_steps)
    kept = pd.DataFrame(columns=list(kinds))
    for chunk in iterate_chunks(source, kinds, stream):
        rows = pd.DataFrame(chunk.columns)
        if stream.item is not None and item is not None:
            rows = rows[rows[stream.item.strip()].astype(str) == item]
        if len(rows):
            kept = rows if kept.empty else pd.concat([kept, rows])
            kept = kept.tail(most)
    return [
        {str(name): _cell(value) for name, value in row.items()}
        for row in kept.astype(object).to_dict("records")
    ]


def _cell(value: Any) -> Any:
    """Return what JSON can write of a cell."""
    if pd.isna(value):
        return None
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else str(value)
