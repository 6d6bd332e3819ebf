"""What would be trained, in words and as JSON: streams, windows, memory, graph and oddities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmts.config import ExperimentConfig
from mmts.data.dataset import Dataset
from mmts.data.findings.coverage import cover_streams
from mmts.data.findings.facts import (
    SplitFacts,
    Spread,
    StreamFacts,
    count_batch_bytes,
    state_facts,
    state_splits,
)
from mmts.data.findings.finding import Finding, say_count
from mmts.data.findings.unusual import find_unusual
from mmts.data.times import say_span
from mmts.interactions.base import InteractionSettings
from mmts.model import MultimodalForecaster

UNUSUAL_SHARE = 0.1
"""By how much more than its stream a column must be missing to be named."""

_SIZES = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class MemoryFacts:
    """Bytes of all streams, of one batch, and of the weights."""

    streams: int
    batch: int
    batch_size: int
    weights: int


@dataclass(frozen=True)
class Summary:
    """All that `mmts check` has found.

    graph: encoders and edges in words. notes: what reading the files had to say.
    """

    name: str
    targets: tuple[str, ...]
    num_items: int
    horizon: int
    step: str
    streams: tuple[StreamFacts, ...]
    splits: tuple[SplitFacts, ...]
    memory: MemoryFacts
    num_weights: int
    graph: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """Say it to a person."""
        parts = [
            f"{self.name}: {', '.join(self.targets)} of {say_count(self.num_items, 'item')}, "
            f"{say_count(self.horizon, 'step')} of {self.step} ahead",
            _table(STREAM_HEADER, map(stream_row, self.streams)),
            _table(WINDOW_HEADER, map(window_row, self.streams)),
            "\n".join(line for stream in self.streams for line in _remarks(stream)),
            _table(SPLIT_HEADER, map(split_row, self.splits)),
            f"memory: {_say_bytes(self.memory.streams)} of streams, "
            f"{_say_bytes(self.memory.batch)} a batch of {self.memory.batch_size:,}, "
            f"{_say_bytes(self.memory.weights)} of weights (in training four times that)",
            "\n".join([f"model: {self.num_weights:,} weights", *(f"  {x}" for x in self.graph)]),
            "\n".join(f"note: {note}" for note in self.notes),
            "\n".join(
                [f"unusual ({len(self.findings)}; nothing was changed):"]
                + [f"  - {finding}" for finding in self.findings]
            )
            if self.findings
            else "unusual: nothing was found",
        ]
        return "\n\n".join(filter(None, parts))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; times are in seconds."""
        found = asdict(self)
        found["streams"] = [_stream_json(stream) for stream in self.streams]
        found["splits"] = [
            {
                "name": split.name,
                "first": split.first,
                "end": split.end,
                "num_windows": split.origins.num_windows,
                "num_origins": split.origins.total,
                "without_context": split.origins.without_context,
                "without_target": split.origins.without_target,
            }
            for split in self.splits
        ]
        found["memory"] = {f"{key}_bytes": x for key, x in asdict(self.memory).items()}
        found["memory"]["batch_size"] = found["memory"].pop("batch_size_bytes")
        found["findings"] = [{**asdict(f), "message": str(f)} for f in self.findings]
        return found


def summarise(config: ExperimentConfig, dataset: Dataset, model: MultimodalForecaster) -> Summary:
    """Gather streams, splits, memory, edges, whatever has no part in the forecast, and oddities."""
    schema = dataset.schema
    coverages = cover_streams(dataset.streams, dataset.scaling)
    streams, findings = state_facts(dataset, coverages), find_unusual(dataset, coverages)
    weights = list(model.parameters())
    said = set(map(str, findings))
    return Summary(
        name=config.name,
        targets=schema.target_columns,
        num_items=len(dataset.items),
        horizon=schema.horizon,
        step=str(schema.clock),
        streams=streams,
        splits=state_splits(dataset),
        memory=MemoryFacts(
            streams=sum(stream.num_bytes for stream in streams),
            batch=count_batch_bytes(schema, config.training.batch_size),
            batch_size=config.training.batch_size,
            weights=sum(weight.numel() * weight.element_size() for weight in weights),
        ),
        num_weights=sum(weight.numel() for weight in weights),
        graph=tuple(describe_graph(config, model)),
        findings=findings,
        notes=tuple(note for note in dataset.notes if note not in said),
    )


STREAM_HEADER = ("stream", "every", "items", "rows", "from", "to", "gaps", "missing")
WINDOW_HEADER = ("stream", "window", "known after", "newest row known ended", "horizon known")
SPLIT_HEADER = ("split", "from", "to", "windows", "left out: no full context", "no target")


def stream_row(stream: StreamFacts) -> list[str]:
    """Say what a stream holds, below `STREAM_HEADER`."""
    every = stream.every or f"about {say_span(stream.typical_distance)}"
    if stream.is_static:
        every = "static"
    elif stream.is_calendar:
        every += ", made up"
    return [
        stream.name,
        every,
        "all" if stream.num_items is None else f"{stream.num_items:,}",
        f"{stream.num_rows:,}",
        stream.first or "",
        stream.last or "",
        "" if stream.every is None else f"{stream.num_gaps:,}",
        f"{stream.missing:.1%}",
    ]


def window_row(stream: StreamFacts) -> list[str]:
    """Say what a window holds of a stream, below `WINDOW_HEADER`."""
    if stream.is_static:
        return [stream.name, "1 row", "", "", ""]
    window = f"{stream.context_steps:,}"
    if stream.horizon_known is not None:
        window += f"+{stream.future_steps:,}"
    after = say_span(stream.delay) if stream.delay else "at once"
    if stream.lateness is not None:
        after = _say_spread(stream.lateness)
    age = "never known" if stream.age is None else _say_age(stream.age)
    if stream.age is not None and stream.unknown:
        age += f"; none at {stream.unknown:.1%}"
    known = "" if stream.horizon_known is None else f"{stream.horizon_known:.1%}"
    return [stream.name, f"{window} rows", after, age, known]


def split_row(split: SplitFacts) -> list[str]:
    """Say how many windows a split has, below `SPLIT_HEADER`."""
    counts = split.origins
    return [
        split.name,
        split.first,
        split.end,
        f"{counts.num_windows:,}",
        f"{counts.without_context:,}",
        f"{counts.without_target:,}",
    ]


def _remarks(stream: StreamFacts) -> Iterator[str]:
    """Say what is worth a line of its own."""
    columns = ", ".join(column.name for column in stream.columns)
    yield f"{stream.name}: {columns}"
    gap = stream.longest_gap
    if gap is not None:
        whose = "" if gap.item is None else f" ({gap.item})"
        places = say_count(gap.num_places, "place")
        yield f"  longest gap: {places}, {say_span(gap.length)} from {gap.start}{whose}"
    unusual = [c for c in stream.columns if c.missing >= stream.missing + UNUSUAL_SHARE]
    if unusual and len(stream.columns) > 1:
        listed = ", ".join(f"{column.name} {column.missing:.1%}" for column in unusual)
        yield f"  missing most: {listed}"


def describe_graph(config: ExperimentConfig, model: MultimodalForecaster) -> Iterator[str]:
    """Say each encoder and each edge, a line each."""
    for name, encoder in config.model.encoders.items():
        yield f"{name}: {encoder.kind}, {say_count(encoder.num_layers, 'layer')} of {encoder.dim}"
    settings_seen: dict[InteractionSettings, str] = {}
    active = {name for names in model.schedule.edges.values() for name in names}
    for name, edge in config.model.edges(config.data.target_stream).items():
        remarks = [] if name.startswith(f"{edge.kind}_") else [f"name {name}"]
        remarks += _settings_of(edge)
        twin = settings_seen.setdefault(edge.model_copy(update={"name": None}), name)
        if twin != name:
            remarks.append(f"the same as {twin}")
        if name not in active:
            remarks.append("no path to the head: not built")
        ending = f" ({'; '.join(remarks)})" if remarks else ""
        yield f"{edge.kind}: {' + '.join(edge.sources)} -> {edge.to}{ending}"
    streams = model.schedule.idle_streams()
    if streams:
        yield f"no path to the head, so not used: stream {', '.join(streams)}"
    unused = [str(node) for node in model.schedule.idle if node.stream not in streams]
    if unused:
        yield f"no path to the head, so not built: {', '.join(unused)}"


def _settings_of(edge: InteractionSettings) -> Iterator[str]:
    """Name what is not as by default on an edge, besides its kind, its nodes and its name."""
    hidden = {"kind", "sources", "to", "name"}
    for key, value in edge.model_dump(mode="json", exclude=hidden).items():
        field = type(edge).model_fields[key]
        if value is not None and getattr(edge, key) != field.default:
            yield f"{key} {str(value).lower() if isinstance(value, bool) else value}"


def _stream_json(stream: StreamFacts) -> dict[str, Any]:
    found = asdict(stream)
    for name in ("typical_distance", "delay"):
        found[f"{name}_seconds"] = found.pop(name) / 1e6
    for name, spread in (("lateness", stream.lateness), ("age", stream.age)):
        del found[name]
        found[f"{name}_seconds"] = (
            None if spread is None else {k: v / 1e6 for k, v in spread._asdict().items()}
        )
    if found["longest_gap"] is not None:
        found["longest_gap"]["length_seconds"] = found["longest_gap"].pop("length") / 1e6
    return found


def _say_spread(spread: Spread) -> str:
    median = say_span(spread.median)
    if spread.largest == spread.median:
        return median
    return f"{median} (at most {say_span(spread.largest)})"


def _say_age(age: Spread) -> str:
    median = f"{say_span(age.median)} before the origin" if age.median else "at the origin"
    return median + (f" (at most {say_span(age.largest)})" if age.largest > age.median else "")


def _say_bytes(number: float) -> str:
    place = 0
    while number >= 1000 and place < len(_SIZES) - 1:
        number, place = number / 1000, place + 1
    return f"{number:.3g} {_SIZES[place]}"


def _table(header: Sequence[str], rows: Iterator[list[str]]) -> str:
    """Lay out columns, each as wide as its widest cell."""
    lines = [list(header), *rows]
    widths = [max(len(row[place]) for row in lines) for place in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in lines
    )
