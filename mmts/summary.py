"""What would be trained, in words: streams, windows, and the graph."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import torch

from mmts.config import ExperimentConfig
from mmts.config_base import format_duration
from mmts.data.dataset import Dataset
from mmts.data.streams import Stream
from mmts.data.times import format_times
from mmts.model import MultimodalForecaster


def summarise(config: ExperimentConfig, dataset: Dataset, model: MultimodalForecaster) -> str:
    """Describe streams, splits, edges and whatever has no part in the forecast."""
    schema = dataset.schema
    parts = [
        f"{config.name}: {', '.join(schema.target_columns)} of {len(dataset.items)} items, "
        f"{schema.horizon} steps of {schema.clock} ahead",
        _table(
            ["stream", "every", "rows", "from", "to", "missing", "window", "delay", "columns"],
            [
                _describe_stream(name, stream, schema.has_time_zone)
                for name, stream in dataset.streams.items()
            ],
        ),
        _table(
            ["split", "from", "to", "windows"],
            [
                [name, first, last, f"{len(dataset.windows(name)):,}"]
                for name, first, last in dataset.split.dates(schema)
            ],
        ),
        _describe_graph(config, model),
    ]
    if dataset.notes:
        parts.append("\n".join(f"note: {note}" for note in dataset.notes))
    return "\n\n".join(parts)


def _describe_stream(name: str, stream: Stream, has_time_zone: bool) -> list[str]:
    schema = stream.schema
    columns = ", ".join(column.name for column in schema.columns)
    missing = f"{float(torch.isnan(stream.values).float().mean()):.1%}"
    rows = f"{len(stream.values):,}"
    if schema.is_static:
        return [name, "static", rows, "", "", missing, "1 row", "", columns]
    times = [stream.times(item) for item in range(len(stream.begin))]
    first = min(int(t.min()) for t in times if len(t))
    last = max(int(t.max()) for t in times if len(t))
    if schema.clock is not None:
        last = int(schema.clock.advance(torch.tensor(last), 1))
    first, last = format_times(np.array([first, last]), has_time_zone)
    every = "irregular" if schema.clock is None else str(schema.clock)
    window = str(schema.context_steps) + (f"+{schema.future_steps}" if schema.has_future else "")
    delay = _words(schema.delay) if schema.delay else ""
    return [name, every, rows, first, last, missing, f"{window} rows", delay, columns]


def _describe_graph(config: ExperimentConfig, model: MultimodalForecaster) -> str:
    num_weights = sum(p.numel() for p in model.parameters())
    lines = [f"model: {num_weights:,} weights"]
    for name, encoder in config.model.encoders.items():
        layers = f"{encoder.num_layers} layer{'s' if encoder.num_layers > 1 else ''}"
        lines.append(f"  {name}: {encoder.kind}, {layers} of {encoder.dim}")
    active = {name for names in model.schedule.edges.values() for name in names}
    for name, edge in config.model.edges(config.data.target_stream).items():
        lines.append(
            f"  {edge.kind}: {' + '.join(edge.sources)} -> {edge.to}"
            f"{'' if name in active else ' (no path to the head: not built)'}"
        )
    idle = model.schedule.idle_streams()
    if idle:
        lines.append(f"  no path to the head, so not used: stream {', '.join(idle)}")
    unused = [str(node) for node in model.schedule.idle if node.stream not in idle]
    if unused:
        lines.append(f"  no path to the head, so not built: {', '.join(unused)}")
    return "\n".join(lines)


def _words(span: int) -> str:
    return format_duration(timedelta(microseconds=span))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out columns, each as wide as its widest cell."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )
