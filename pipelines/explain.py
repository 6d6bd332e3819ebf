"""`mmts explain`: what each edge and each stream does for a trained model."""

from __future__ import annotations

import json
import logging
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .addresses import CheckpointArgument, RunsOption, UriOption, find_file
from .evaluate import EvaluatedSplit
from .inputs import list_sources, require_apart_from_data
from .tables import say_number
from .terminal import AsJson, Quiet, imports, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from mmts.checkpoint import CheckpointInfo
    from mmts.data.dataset import Dataset
    from mmts.explanation import Cost, Explanation, SourceReading
    from mmts.forecasting import Forecaster

_TABLES = _EDGES, _STREAMS, _LAGS = "edges.csv", "streams.csv", "lags.csv"
_COST_HEADINGS = ("cost", "interval", "")
_MIN_WIDTH = 100


class CostMetric(StrEnum):
    """Metrics that costs can be measured in."""

    MAE = "mae"
    RMSE = "rmse"
    WQL = "wql"


def explain(
    checkpoint: CheckpointArgument,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to write to; by default `explanation` beside the checkpoint."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data, where it has moved since.")
    ] = None,
    split: Annotated[
        EvaluatedSplit, typer.Option(help="Part of the data to forecast.")
    ] = EvaluatedSplit.TEST,
    metric: Annotated[
        CostMetric, typer.Option(help="What costs are measured in.")
    ] = CostMetric.MAE,
    target: Annotated[
        str | None, typer.Option(help="Target to measure; all of them pooled by default.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Windows at a time; fewer need less memory.")
    ] = 256,
    runs: RunsOption = Path("runs"),
    uri: UriOption = None,
) -> None:
    """Show how strongly each edge acts, where it reads, and what it costs to lose it."""
    with imports():
        from mmts.evaluation import load_evaluation_data
        from mmts.explanation import check_request, explain
        from mmts.files import write_table, write_whole
        from mmts.folder_lock import hold_folder
        from mmts.forecasting import Forecaster
        from mmts.plots import to_picture

    checkpoint = find_file(checkpoint, runs, uri)
    forecaster = Forecaster.from_checkpoint(checkpoint)
    folder = output or checkpoint.parent / "explanation"
    if output is None and split is EvaluatedSplit.VALIDATION:
        folder = folder / split.value
    sources = list_sources(forecaster.info.config.data, data_root)
    require_apart_from_data(sources, [folder / name for name in _TABLES])
    check_request(metric.value, target, forecaster.info.data_schema)
    dataset = load_evaluation_data(forecaster.info, data_root)
    with hold_folder(folder):
        explanation = explain(forecaster, dataset, split.value, metric.value, target, batch_size)

        numbers = explanation.to_json() | {"epoch": forecaster.info.epoch}
        found = json.dumps(numbers, indent=2, allow_nan=False)
        tables = {
            _EDGES: explanation.edge_table(),
            _STREAMS: explanation.stream_table(),
            _LAGS: explanation.reading_table(),
        }
        tables = {name: table for name, table in tables.items() if len(table)}
        figures = _draw(explanation, forecaster)
        write_whole(folder / "explanation.json", found + "\n")
        for name, table in tables.items():
            write_table(folder / name, table)
        for name, figure in figures.items():
            write_whole(folder / name, to_picture(figure, name))
    if as_json:
        print(found)
    elif not quiet:
        _show(explanation)
        print(f"written: {folder}: explanation.json, {', '.join([*tables, *figures])}")
    report = None
    if output is None and split is EvaluatedSplit.TEST:
        report = _renew_report(forecaster, dataset, checkpoint, folder)
    _track(explanation, forecaster.info, checkpoint, folder, [*tables, *figures], report)


def _renew_report(
    forecaster: Forecaster, dataset: Dataset, checkpoint: Path, folder: Path
) -> Path | None:
    """Take the explanation into the report of the evaluation, where there is one of this epoch."""
    from mmts.errors import RunError
    from mmts.report import EVALUATION, write_report
    from mmts.run_folders.evaluations import read_evaluation

    evaluated = checkpoint.parent / "evaluation"
    path = evaluated / EVALUATION
    if not path.is_file():
        return None
    try:
        if read_evaluation(checkpoint.parent, path).epoch != forecaster.info.epoch:
            return None
    except RunError as error:
        logging.getLogger("mmts").warning("the report of the evaluation is not renewed: %s", error)
        return None
    return write_report(evaluated, forecaster.info, dataset, forecaster.model, checkpoint, folder)


def _draw(explanation: Explanation, forecaster: Forecaster) -> dict[str, Figure]:
    """Return the pictures by file; without those of which there is nothing to show."""
    from mmts.plots import (
        plot_edges,
        plot_graph,
        plot_lags,
        plot_shares,
        plot_shares_over_time,
        plot_streams,
        plot_token_shares,
    )

    title = f"{forecaster.info.config.name}: how strongly edges act"
    graph = plot_graph(forecaster.info.config.model, forecaster.model, explanation.strengths, title)
    figures: dict[str, Figure | None] = {"graph.svg": graph, "graph.png": graph}
    if explanation.edges:
        figures["edges.png"] = plot_edges(explanation)
        figures["shares.png"] = plot_shares(explanation)
        figures["shares_over_time.png"] = plot_shares_over_time(explanation)
        figures["lags.png"] = plot_lags(explanation)
        figures["tokens.png"] = plot_token_shares(explanation)
    if explanation.streams:
        figures["streams.png"] = plot_streams(explanation)
    return {name: figure for name, figure in figures.items() if figure is not None}


def _show(explanation: Explanation) -> None:
    """Print what a person wants to know first, what is missed most on top."""
    from rich.console import Console

    # In a narrower terminal lines break, and no number is cut.
    console = Console(highlight=False, width=max(_MIN_WIDTH, Console().width))
    first, end = explanation.dates
    print(
        f"{explanation.split} split, {first} to {end}: {explanation.num_windows:,} windows, "
        f"{explanation.num_values:,} observed values; {explanation.metric.upper()} of "
        f"{explanation.target}: {say_number(explanation.value)}"
    )
    if explanation.edges:
        edges = _new_table("edge switched off", "strength", "in windows", *_COST_HEADINGS)
        reads = _new_table("edge", "reads", "share", "median lag")
        for edge in explanation.edges:
            strength = edge.strength
            within = f"{_say_strength(strength.low)} to {_say_strength(strength.high)}"
            name = f"{edge.kind}: {edge.words}"
            edges.add_row(name, _say_strength(strength.overall), within, *_cost_cells(edge.cost))
            for place, reading in enumerate(edge.readings):
                share = f"{reading.share:.1%}"
                reads.add_row("" if place else name, reading.source, share, _say_lag(reading))
            if edge.readings:
                rest = "nothing, itself" if edge.kind == "joint" else "nothing"
                reads.add_row("", rest, f"{edge.nothing:.1%}", "")
        if explanation.all_edges is not None and len(explanation.edges) > 1:
            edges.add_row("all of them", "", "", *_cost_cells(explanation.all_edges))
        print()
        console.print(edges)
        if reads.row_count:
            print()
            console.print(reads)
    if explanation.streams:
        streams = _new_table("stream", *_COST_HEADINGS)
        for stream in explanation.streams:
            streams.add_row(f"{stream.name} shuffled", *_cost_cells(stream.shuffled))
            streams.add_row(f"{stream.name} left out", *_cost_cells(stream.without))
        print()
        console.print(streams)
    if explanation.edges or explanation.streams:
        print()
        print(explanation.method)
    for note in explanation.notes:
        print(f"note: {note}")


def _new_table(first: str, *headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    # Names of edges may be long: they are what gives way in a narrow terminal.
    table.add_column(first, overflow="fold")
    for heading in headings:
        words = heading in ("", "reads")
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    return table


def _cost_cells(cost: Cost) -> tuple[str, str, str]:
    if cost.verdict == "none":
        return "0", "", "none"
    if math.isnan(cost.percent):
        return "-", "", ""
    interval = "-" if math.isnan(cost.low) else f"{_signed(cost.low)} to {_signed(cost.high)}"
    return _signed(cost.percent), interval, cost.verdict


def _signed(percent: float) -> str:
    # Rounded first, and 0 added, so that no zero has a minus.
    return f"{round(percent, 2) + 0.0:+.2f}%"


def _say_strength(strength: float) -> str:
    return "-" if math.isnan(strength) else f"{strength:.3f}"


def _say_lag(reading: SourceReading) -> str:
    from mmts.data.times import say_span

    if reading.lags is None or reading.lags.median is None:
        return ""
    return say_span(reading.lags.median)


def _track(
    explanation: Explanation,
    info: CheckpointInfo,
    checkpoint: Path,
    folder: Path,
    files: list[str],
    report: Path | None,
) -> None:
    """Add everything to the MLflow run of the training; report: to take the place of the former."""
    from mmts.tracking.run import reopen_run

    home = checkpoint.resolve().parent
    run = reopen_run(info.config.tracking, info.run_id, folder=home, store=home.parent)
    run.log_metrics(explanation.metrics(), step=0)
    place = "explanation" if explanation.split == "test" else f"explanation/{explanation.split}"
    for name in ("explanation.json", *files):
        run.log_file(folder / name, place)
    if report is not None:
        run.log_file(report)
    run.finish("FINISHED")


if __name__ == "__main__":
    run(explain)
