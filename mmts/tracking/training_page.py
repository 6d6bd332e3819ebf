"""What the page of a run says of its training."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmts.config import ExperimentConfig
from mmts.data.dataset import Dataset
from mmts.data.findings.finding import say_count
from mmts.data.schema import StreamSchema
from mmts.data.source_files import stream_paths
from mmts.data.splits import SPLITS
from mmts.interactions.base import InteractionSettings
from mmts.model import MultimodalForecaster
from mmts.run_folders.names import CONFIG
from mmts.tracking.delivery import ERROR_TAG
from mmts.tracking.note import mark_code, write_table
from mmts.tracking.provenance import (
    describe_commit,
    describe_environment,
    describe_source,
    name_device,
)
from mmts.tracking.run import TrackedRun

VERDICT = "Verdict"
"""Section that an evaluation fills in."""

RESULT = "Training"

_MOST_LINES = 20
"""Streams, and edges, of which a description tells one by one."""

_MOST_ITEMS = 8
_NO_MATTER = ("log_every_n_steps", "keep_state_every")
"""Settings of the training that move no weight."""

_COLUMN_TYPES = {"number": "double", "category": "string", "text": "string", "flag": "boolean"}


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training went that came to its end; checkpoint: None for one of many trials."""

    checkpoint: Path | None
    num_epochs: int
    best_epoch: int
    best_loss: float
    seconds: float


def describe_run(config: ExperimentConfig, dataset: Dataset) -> str:
    """Write, in Markdown, what is forecast, from which streams, on which split, by which model."""
    schema = dataset.schema
    streams = [
        [mark_code(name), _say_file(config, name), *_say_stream(config, dataset, name)]
        for name in list(schema.streams)[:_MOST_LINES]
    ]
    splits = [
        [name, first, end, f"{len(dataset.windows(name)):,}"]
        for name, first, end in dataset.split.dates(schema)
    ]
    parts = [
        _say_task(dataset),
        "## Data",
        write_table(("stream", "file", "rows", "every", "read back", "columns"), streams, 6),
        *_say_rest(len(schema.streams), "stream"),
        write_table(("split", "from", "to", "windows"), splits, 3),
        "## Model",
        "\n".join(_say_model(config)),
    ]
    return "\n\n".join(parts)


def identify_data(dataset: Dataset, hashes: Mapping[str, str]) -> str:
    """Return a short name of data and splits: errors of runs that share it can be compared."""
    schema = dataset.schema
    named = [sorted(hashes.items()), list(dataset.split.dates(schema)), schema.horizon]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:12]


def record_setup(
    run: TrackedRun,
    config: ExperimentConfig,
    dataset: Dataset,
    hashes: Mapping[str, str],
    folder: Path,
    num_parameters: int,
) -> None:
    """Record all that is known before the first step; what takes time is done in the background.

    hashes: SHA-256 of what each stream was read from. folder: of the run.
    """
    run.set_tags(
        {
            "target": ", ".join(dataset.schema.target_columns),
            "streams": ", ".join(dataset.schema.streams),
            "data": identify_data(dataset, hashes),
            "interactions": ", ".join(sorted({e.kind for e in _edges(config).values()})) or "none",
        }
    )
    run.set_tags(describe_source(sys.argv))
    run.log_params(list_params(config, dataset, num_parameters))
    run.log_file(folder / CONFIG)
    _record_datasets(run, config, dataset, hashes)
    place = Path.cwd()
    run.find_tags(lambda: describe_commit(place))
    run.find_tags(lambda: {"device": name_device(config.training.accelerator)})

    def write_environment() -> bytes:
        found = {"device": name_device(config.training.accelerator), **describe_environment()}
        return (json.dumps(found, indent=2) + "\n").encode()

    run.make_file(write_environment, "environment.json")


def list_params(
    config: ExperimentConfig, dataset: Dataset, num_parameters: int
) -> dict[str, str | int | float | bool | None]:
    """Return the settings that runs differ in: flat, and short enough to stand side by side."""
    model, settings, schema = config.model, config.training, dataset.schema
    levels = ", ".join(map(str, _levels(config)))
    cuts = {name: first for name, first, _ in dataset.split.dates(schema)}
    return {
        "seed": config.seed,
        "horizon": schema.horizon,
        "step": str(schema.clock),
        "streams": ", ".join(schema.streams),
        "items": len(dataset.items),
        "parameters": num_parameters,
        "head": model.head.kind,
        "quantile_levels": levels or "none",
        "linear": model.linear is not None,
        "calibration": config.calibration is not None,
        "window_normalization": model.window_normalization,
        "stream_dropout": model.stream_dropout,
        "interactions": len(model.interactions),
        "edges": "; ".join(_say_edge(edge) for edge in _edges(config).values()) or "none",
        **{f"encoder.{name}": encoder.kind for name, encoder in model.encoders.items()},
        **{f"dim.{name}": encoder.dim for name, encoder in model.encoders.items()},
        **{f"layers.{name}": encoder.num_layers for name, encoder in model.encoders.items()},
        **{
            f"context.{name}": stream.context_steps
            for name, stream in schema.streams.items()
            if not stream.is_static
        },
        **{name: value for name, value in settings if name not in _NO_MATTER},
        **{f"split.{name}": cuts[name] for name in SPLITS[1:]},
        **{f"windows.{split}": len(dataset.windows(split)) for split in SPLITS},
    }


def record_error(run: TrackedRun, error: Exception) -> None:
    """Say why a training failed."""
    run.set_tags({ERROR_TAG: f"{type(error).__name__}: {error}"})


def record_outcome(run: TrackedRun, outcome: TrainingOutcome) -> None:
    """Say how a training went; the verdict is left to an evaluation."""
    run.log_metrics(
        {"val/best_loss": outcome.best_loss, "val/best_epoch": outcome.best_epoch},
        step=outcome.best_epoch,
    )
    run.set_section(
        RESULT,
        f"{outcome.num_epochs} epochs in {outcome.seconds:,.0f} s, of which epoch "
        f"{outcome.best_epoch} has the lowest validation loss, {outcome.best_loss:.4f}.",
    )
    if outcome.checkpoint is None:
        return
    run.set_section(
        VERDICT,
        "Not known yet: the test split has not been read. This sets the model beside last value, "
        f"seasonal naive and ridge:\n\n    mmts evaluate {outcome.checkpoint}",
    )


def record_pictures(
    run: TrackedRun,
    config: ExperimentConfig,
    dataset: Dataset,
    model: MultimodalForecaster,
    history: Path,
) -> None:
    """Draw, in the background, the losses, the data and the graph; history: of the losses."""

    def draw_learning() -> bytes:
        from mmts.plots import plot_learning, to_png
        from mmts.run_folders.history import read_history

        return to_png(plot_learning(read_history(history)))

    def draw_data() -> bytes:
        from mmts.plots import plot_coverage, to_png

        return to_png(plot_coverage(dataset))

    def draw_graph() -> bytes:
        from mmts.plots import plot_graph, to_png

        title = f"{config.name}: streams, layers and the edges between them"
        return to_png(plot_graph(config.model, model, title=title))

    run.make_file(draw_learning, "pictures/learning.png")
    run.make_file(draw_data, "pictures/data.png")
    run.make_file(draw_graph, "pictures/graph.png")


def _say_task(dataset: Dataset) -> str:
    schema, items = dataset.schema, dataset.items
    targets = ", ".join(f"**{name}**" for name in schema.target_columns)
    others = len(schema.streams) - 1
    series = say_count(len(items), "item")
    if 1 < len(items) <= _MOST_ITEMS:
        series += f" ({', '.join(items)})"
    beside = f" and {say_count(others, 'other')}" if others else " alone"
    return (
        f"Forecasts {targets}, {say_count(schema.horizon, 'step')} of {schema.clock} ahead, for "
        f"{series}, from stream {mark_code(schema.target_stream)}{beside}."
    )


def _say_file(config: ExperimentConfig, name: str) -> str:
    path = config.data.streams[name].path
    return "the calendar" if path is None else mark_code(str(path))


def _say_stream(config: ExperimentConfig, dataset: Dataset, name: str) -> Iterator[str]:
    """Yield rows, rhythm, context and columns."""
    schema = dataset.schema.streams[name]
    yield f"{len(dataset.streams[name].values):,}"
    yield say_rhythm(schema)
    yield "" if schema.is_static else f"{schema.context_steps:,} rows"
    yield _list_columns(schema)


def say_rhythm(schema: StreamSchema) -> str:
    """Say how rows follow each other, and when each is known."""
    if schema.is_static:
        return "static"
    return "irregular" if schema.clock is None else str(schema.clock)


def _list_columns(schema: StreamSchema) -> str:
    roles: dict[str, list[str]] = {}
    for column in schema.columns:
        roles.setdefault(column.role, []).append(column.name)
    said = []
    for role, names in roles.items():
        listed = ", ".join(map(mark_code, names[:_MOST_ITEMS]))
        more = len(names) - _MOST_ITEMS
        said.append(f"{role}: {listed}{f' and {more} more' if more > 0 else ''}")
    return "; ".join(said)


def _say_model(config: ExperimentConfig) -> Iterator[str]:
    for name, encoder in list(config.model.encoders.items())[:_MOST_LINES]:
        layers = say_count(encoder.num_layers, "layer")
        yield f"- {mark_code(name)}: {encoder.kind}, {layers} of {encoder.dim}"
    for edge in list(_edges(config).values())[:_MOST_LINES]:
        yield f"- {mark_code(_say_edge(edge))}"
    for rest in _say_rest(len(_edges(config)), "interaction"):
        yield f"- {rest}"
    levels = ", ".join(map(str, _levels(config)))
    yield f"- head: {config.model.head.kind}{f' {levels}' if levels else ''}"


def _say_rest(count: int, what: str) -> Iterator[str]:
    if count > _MOST_LINES:
        yield f"and {say_count(count - _MOST_LINES, f'more {what}')}"


def _edges(config: ExperimentConfig) -> dict[str, InteractionSettings]:
    return config.model.edges(config.data.target_stream)


def _say_edge(edge: InteractionSettings) -> str:
    return f"{edge.kind}: {' + '.join(edge.sources)} -> {edge.to}"


def _levels(config: ExperimentConfig) -> tuple[float, ...]:
    return getattr(config.model.head, "quantile_levels", ())


def _record_datasets(
    run: TrackedRun, config: ExperimentConfig, dataset: Dataset, hashes: Mapping[str, str]
) -> None:
    dates = {name: f"{first} to {end}" for name, first, end in dataset.split.dates(dataset.schema)}
    for name, path in stream_paths(config.data).items():
        stream = dataset.streams[name]
        columns = {f"{c.name} ({c.role})": _COLUMN_TYPES[c.type] for c in stream.schema.columns}
        profile = {
            "rows": len(stream.values),
            "columns": len(columns),
            "observed": round(stream.observed_share(), 6),
            **dates,
            "sha256": hashes[name],
        }
        # MLflow keeps the first of those that share name and digest: the digest must tell apart
        # all that stands in the profile, and not only the files.
        facts = json.dumps([profile, columns])
        digest = hashlib.sha256(facts.encode()).hexdigest()[:12]
        run.log_dataset(name, str(path), digest, "training", profile, columns)
