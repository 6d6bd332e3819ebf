"""Composing the page: words, tables and pictures in one file that needs no other."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from mmts.checkpoint import CheckpointInfo
from mmts.data.dataset import Dataset
from mmts.data.findings.finding import say_count
from mmts.evaluation import ALL_TARGETS, MODEL
from mmts.files import write_whole
from mmts.linear.path import READS_IN_WORDS
from mmts.model import MultimodalForecaster
from mmts.plots.style import DPI
from mmts.report.tables import (
    Table,
    tabulate_costs,
    tabulate_data,
    tabulate_scores,
    tabulate_subsets,
)
from mmts.summary import describe_graph

REPORT = "report.html"
EVALUATION = "evaluation.json"
EXPLANATION = "explanation.json"
LEARNING = "learning.png"
DATA = "data.png"
GRAPH = "graph.svg"

_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}

_SVG_WIDTH = re.compile(rb'<svg [^>]*?width="([0-9.]+)pt"')
_POINTS_PER_INCH = 72
_PIXELS_PER_INCH = 84

_FORECASTS = {
    "windows.png": "Windows from the best to the worst by their error, the typical one between "
    "them: what was known, the forecast with its bands, and what came.",
    "error_by_step.png": "The mean absolute error at each step ahead, beside the baselines.",
}
_UNCERTAINTY = {
    "coverage.png": "How often what came lay below each quantile, and within each interval, step "
    "by step. On the dashed line it is as often as the model says.",
}
_SUBSETS = {"subsets.png": "The change in error with other streams."}
_EDGES = {
    GRAPH: "Streams from left to right through their layers, and the edges between them, as wide "
    "as what they add is strong.",
    "edges.png": "What each edge adds, and what it costs to switch it off.",
    "streams.png": "What it costs to shuffle each stream, and to leave it out.",
    "shares.png": "What share of its reading each edge gives to which stream.",
    "shares_over_time.png": "The same at each token that reads.",
    "lags.png": "How far back edges look that choose what they read.",
    "tokens.png": "Which token reads which.",
}
_GRAPH_ALONE = {
    GRAPH: "Streams from left to right through their layers, and the edges between them.",
}
_LEARNING = {LEARNING: "How the losses fell; the circle marks the epoch that was kept as best."}
_DATA = {DATA: "What each stream holds, and when; the vertical lines are the cuts."}


@dataclass(frozen=True)
class Picture:
    """A picture as data that stand in the page itself; width: in pixels of the page."""

    name: str
    caption: str
    data: str
    width: int


@dataclass(frozen=True)
class Section:
    """A part of the page; lines: a list below the text."""

    name: str
    title: str
    text: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    code: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.text or self.lines or self.tables or self.pictures or self.code)


def write_report(
    folder: Path,
    info: CheckpointInfo,
    dataset: Dataset,
    model: MultimodalForecaster,
    checkpoint: Path,
    explained: Path | None = None,
) -> Path:
    """Write `report.html` beside the files of an evaluation, from these files.

    checkpoint: that was evaluated. explained: folder of an explanation, which is taken in where
    it is there and of the same epoch. Returns the file. Raises OutputError where it cannot be
    written.
    """
    found = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
    explanation = None if explained is None else _read_explanation(explained, found["epoch"])
    sections = [
        Section("scores", "Scores", _say_scores(found), (), tuple(tabulate_scores(found))),
        Section("forecasts", "Forecasts", pictures=_pictures(folder, _FORECASTS)),
        Section(
            "uncertainty",
            "Uncertainty",
            pictures=_pictures(folder, _UNCERTAINTY) if found.get("quantile_coverage") else (),
        ),
        _compare_streams(found, folder),
        _show_model(info, model, folder, explanation, explained),
        Section("training", "Training", _say_training(info), (), (), _pictures(folder, _LEARNING)),
        Section(
            "data",
            "Data",
            tuple(dataset.notes),
            (),
            tuple(tabulate_data(dataset)),
            _pictures(folder, _DATA),
        ),
        Section("config", "Config", (_CONFIG,), code=info.config.to_yaml()),
    ]
    page = _template().render(
        title=info.config.name,
        subtitle=f"run {checkpoint.resolve().parent.name}, {found['split']} split",
        task=_say_task(info, dataset),
        verdict=found["verdict"],
        verdicts=found["verdicts"],
        wins=_count_wins(found),
        facts=_facts(info, dataset, model, found, checkpoint),
        notes=found["notes"],
        sections=[section for section in sections if not section.is_empty],
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=info.versions["mmts"],
    )
    write_whole(folder / REPORT, page)
    return folder / REPORT


_CONFIG = (
    "All settings, defaults included. Saved as a YAML file it trains the same model again, where "
    "the data lie in the same place."
)


def _template() -> Any:
    text = files("mmts.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    settings = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return settings.from_string(text)


def _say_task(info: CheckpointInfo, dataset: Dataset) -> str:
    schema = info.data_schema
    others = [name for name in schema.streams if name != schema.target_stream]
    beside = f", beside {', '.join(others)}" if others else ""
    return (
        f"Forecasts {', '.join(schema.target_columns)} of {say_count(len(dataset.items), 'item')}, "
        f"{say_count(schema.horizon, 'step')} of {schema.clock} ahead, from the stream "
        f"{schema.target_stream}{beside}."
    )


def _count_wins(found: dict[str, Any]) -> str:
    """Say in a word how the model fares: `all`, `some` or `none` of the baselines are beaten."""
    target = found["targets"][0] if len(found["targets"]) == 1 else ALL_TARGETS
    errors = {name: scores[target]["overall"]["mae"] for name, scores in found["scores"].items()}
    model = errors.pop(MODEL)
    beaten = sum(model < error for error in errors.values())
    return "all" if beaten == len(errors) else "some" if beaten else "none"


def _facts(
    info: CheckpointInfo,
    dataset: Dataset,
    model: MultimodalForecaster,
    found: dict[str, Any],
    checkpoint: Path,
) -> list[tuple[str, str]]:
    first, end = found["dates"][found["split"]]
    train_first, train_end = found["dates"]["train"]
    weights = sum(weight.numel() for weight in model.parameters())
    items = ", ".join(dataset.items[:8]) + (", …" if len(dataset.items) > 8 else "")
    facts = [
        ("evaluated", f"{first} to {end}"),
        ("windows", f"{found['num_windows']:,}, {found['num_values']:,} observed values"),
        ("trained on", f"{train_first} to {train_end}"),
        ("items", items),
        ("model", f"{weights:,} weights; {checkpoint.name} of epoch {found['epoch']}"),
        ("season", f"{found['season']} steps, of the seasonal naive forecast and of MASE"),
    ]
    if info.run_id is not None:
        facts.append(("MLflow run", info.run_id))
    return facts


def _say_scores(found: dict[str, Any]) -> tuple[str, ...]:
    ridge = found["ridge"]
    return (
        "All methods forecast the same windows, and were fitted on the train split. The model's "
        "point forecast is its median, and for RMSE its mean, where it has them. MASE is the error "
        "in units of the seasonal naive error on the train split; WQL and CRPS score the whole "
        f"distribution. The ridge reads {READS_IN_WORDS[ridge['reads']]}.",
    )


def _compare_streams(found: dict[str, Any], folder: Path) -> Section:
    table = tabulate_subsets(found)
    if table is None:
        return Section("subsets", "With fewer streams")
    text = (
        "The same model on the same windows. The change is in percent of the first row's error; ± "
        "is one standard error."
    )
    return Section(
        "subsets", "With fewer streams", (text,), (), (table,), _pictures(folder, _SUBSETS)
    )


def _show_model(
    info: CheckpointInfo,
    model: MultimodalForecaster,
    folder: Path,
    explanation: dict[str, Any] | None,
    explained: Path | None,
) -> Section:
    lines = tuple(describe_graph(info.config, model))
    if explanation is None or explained is None:
        return Section("model", "Model", (), lines, (), _pictures(folder, _GRAPH_ALONE))
    first, end = explanation["dates"]
    text = (
        f"Measured on the {explanation['split']} split, {first} to {end}. A strength is the norm "
        "of what an edge adds over the norm of what it adds to. A cost is of a model that counts "
        "on the edge or the stream: another training may make up for it. ± is one standard error."
    )
    tables = tuple(tabulate_costs(explanation))
    return Section("model", "Model", (text,), lines, tables, _pictures(explained, _EDGES))


def _say_training(info: CheckpointInfo) -> tuple[str, ...]:
    versions = ", ".join(f"{name} {number}" for name, number in info.versions.items())
    return (
        f"Kept: the weights after epoch {info.epoch}, with a validation loss of "
        f"{info.validation_loss:.4f}. Trained with {versions}.",
    )


def _read_explanation(folder: Path, epoch: int) -> dict[str, Any] | None:
    path = folder / EXPLANATION
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found.get("epoch") == epoch else None


def _pictures(folder: Path, captions: dict[str, str]) -> tuple[Picture, ...]:
    """Return those that are there, in order."""
    found = []
    for name, caption in captions.items():
        path = folder / name
        if path.is_file():
            content = path.read_bytes()
            data = f"data:{_TYPES[path.suffix]};base64,{base64.b64encode(content).decode()}"
            width = round(_PIXELS_PER_INCH * _inches(content))
            found.append(Picture(path.stem.replace("_", " "), caption, data, width))
    return tuple(found)


def _inches(picture: bytes) -> float:
    """Return the width of a picture as it was drawn, so that letters are alike in all of them."""
    if picture.startswith(b"\x89PNG"):
        return int.from_bytes(picture[16:20]) / DPI
    points = _SVG_WIDTH.search(picture)
    assert points is not None
    return float(points[1]) / _POINTS_PER_INCH
