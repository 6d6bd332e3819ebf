"""The tables of a report, from what an evaluation and an explanation have written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmts.data.dataset import Dataset
from mmts.data.findings.coverage import cover_streams
from mmts.data.findings.facts import state_facts, state_splits
from mmts.evaluation.report import ALL_TARGETS, MODEL
from mmts.score_text import say_score
from mmts.summary import (
    SPLIT_HEADER,
    STREAM_HEADER,
    WINDOW_HEADER,
    split_row,
    stream_row,
    window_row,
)

_MEASURES = {
    "mae": "MAE",
    "rmse": "RMSE",
    "mase": "MASE",
    "wql": "WQL",
    "crps_by_quantiles": "CRPS",
}
"""All of them the better the smaller."""


@dataclass(frozen=True)
class Cell:
    """One cell; is_best: of its column. is_number: then it is set right."""

    text: str
    is_best: bool = False
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """A table; numbers_from: the first of the columns that hold numbers."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers_from: int


def tabulate_scores(found: Mapping[str, Any]) -> list[Table]:
    """Return a table per target; found: an evaluation as JSON holds it."""
    targets = list(found["targets"])
    if len(targets) > 1:
        targets.append(ALL_TARGETS)
    return [_scores_of(found, target) for target in targets]


def tabulate_subsets(found: Mapping[str, Any]) -> Table | None:
    """Return the model's errors with other streams; None where these were not measured."""
    subsets = found.get("subsets")
    if not subsets:
        return None
    targets = found["targets"]
    target = targets[0] if len(targets) == 1 else ALL_TARGETS
    rows = []
    for subset in subsets:
        scores, change = subset["scores"][target], subset["mae_change"][target]
        texts = [subset["subset"], *(_say(scores[name]) for name in ("mae", "rmse", "wql"))]
        rows.append(_row([*texts, _say_change(change)], 1))
    headings = ("streams", "MAE", "RMSE", "WQL", "change in MAE")
    return Table(f"{target}, with fewer streams, or with one shuffled", headings, tuple(rows), 1)


def tabulate_costs(explanation: Mapping[str, Any]) -> list[Table]:
    """Return what edges add and cost, and what streams cost."""
    metric = str(explanation["metric"]).upper()
    tables = []
    edges = [
        [
            f"{edge['kind']}: {' + '.join(edge['from'])} → {edge['to']}",
            _say(edge["strength"]["overall"], "{:.3f}"),
            _say_change(edge["cost"]),
        ]
        for edge in explanation["edges"]
    ]
    if edges:
        headings = ("edge", "strength", f"change in {metric} without it")
        tables.append(_table("What each edge adds, and what it costs to lose it", headings, edges))
    streams = [
        [stream["name"], _say_change(stream["shuffled"]), _say_change(stream["without"])]
        for stream in explanation["streams"]
    ]
    if streams:
        headings = ("stream", f"change in {metric}, shuffled", f"change in {metric}, left out")
        tables.append(_table("What each stream is worth to this model", headings, streams))
    return tables


def tabulate_data(dataset: Dataset) -> list[Table]:
    """Return what the streams hold, what windows hold of them, and the splits."""
    facts = state_facts(dataset, cover_streams(dataset.streams, dataset.scaling))
    return [
        _table("What the streams hold", STREAM_HEADER, map(stream_row, facts), 2),
        _table("What a window holds of them", WINDOW_HEADER, map(window_row, facts), 99),
        _table("Splits, and their windows", SPLIT_HEADER, map(split_row, state_splits(dataset)), 3),
    ]


def _scores_of(found: Mapping[str, Any], target: str) -> Table:
    scores = {method: by_target[target]["overall"] for method, by_target in found["scores"].items()}
    best = {
        measure: min((s[measure] for s in scores.values() if s[measure] is not None), default=None)
        for measure in _MEASURES
    }
    rows = []
    for method, values in scores.items():
        cells = [Cell(method)]
        for measure in _MEASURES:
            value = values[measure]
            cells.append(Cell(_say(value), value is not None and value == best[measure], True))
        cells.append(Cell(_say_relative(scores[MODEL]["mae"], values["mae"]), False, True))
        cells.append(Cell(_say(values["coverage"], "{:.1%}"), False, True))
        rows.append(tuple(cells))
    nominal = found["nominal_coverage"]
    coverage = "coverage" if nominal is None else f"coverage of {nominal:.0%}"
    headings = (target, *_MEASURES.values(), "model's MAE against it", coverage)
    caption = f"Errors of {target} on the {found['split']} split; the smallest are bold"
    return Table(caption, headings, tuple(rows), 1)


def _table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1
) -> Table:
    cells = tuple(_row(row, numbers_from) for row in rows)
    return Table(caption, tuple(headings), cells, numbers_from)


def _row(texts: Sequence[str], numbers_from: int) -> tuple[Cell, ...]:
    return tuple(Cell(text, is_number=place >= numbers_from) for place, text in enumerate(texts))


def _say(number: float | None, pattern: str | None = None) -> str:
    if pattern is None or number is None or math.isnan(number):
        return say_score(number)
    return pattern.format(number)


def _say_relative(model: float | None, other: float | None) -> str:
    if model is None or not other or model == other:
        return "-"
    return _signed(100 * (model - other) / other, 1)


def _say_change(change: Mapping[str, Any]) -> str:
    percent, error = change["percent"], change["standard_error"]
    if percent is None:
        return "-"
    if percent == 0 and not error:
        return "0"
    said = _signed(percent, 2)
    return said if error is None else f"{said} ± {error:.2f}"


def _signed(percent: float, digits: int) -> str:
    # Rounded first, and 0 added, so that no zero has a minus.
    return f"{round(percent, digits) + 0.0:+.{digits}f}%"
