"""`mmts evaluate`: how good a trained model is, beside simple baselines."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .addresses import CheckpointArgument, RunsOption, UriOption, find_file
from .backtest import SCORES, TABLE, run_backtest
from .inputs import list_sources, require_apart_from_data
from .tables import say_number
from .terminal import AsJson, Quiet, imports, run, sigterm_told_apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from rich.table import Table

    from mmts.checkpoint import CheckpointInfo
    from mmts.data.dataset import Dataset
    from mmts.evaluation import Coverage, Evaluation, Subsets
    from mmts.evaluation.coverage import CoverageByTarget
    from mmts.forecasting import Forecaster


_MOST_WIDTH = 200
"""Of a table, in characters; in a narrower terminal lines break, and no number is cut."""


_TABLES = _BY_STEP, _COVERAGE, _SUBSETS = "by_step.csv", "coverage.csv", "subsets.csv"


class EvaluatedSplit(StrEnum):
    """Splits that can be evaluated."""

    TEST = "test"
    VALIDATION = "validation"


def evaluate(
    checkpoint: CheckpointArgument,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to write to; by default `evaluation` beside the checkpoint."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data, where it has moved since.")
    ] = None,
    split: Annotated[
        EvaluatedSplit, typer.Option(help="Part of the data to forecast.")
    ] = EvaluatedSplit.TEST,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Stream to evaluate without, as if it were missing; its file is not read. "
            "May be repeated."
        ),
    ] = None,
    shuffled: Annotated[
        list[str] | None,
        typer.Option(
            "--shuffle",
            help="Stream whose rows the model reads with their values in another order. "
            "May be repeated.",
        ),
    ] = None,
    with_subsets: Annotated[
        bool,
        typer.Option(
            "--subsets",
            help="Score the model with each stream missing or shuffled, too, and with the "
            "target's stream alone.",
        ),
    ] = False,
    with_backtest: Annotated[
        bool,
        typer.Option(
            "--backtest", help="Forecast from a row of cut-offs instead, and score each of them."
        ),
    ] = False,
    windows: Annotated[
        int | None,
        typer.Option(
            help="Cut-offs of the backtest; by default all in the split, or 3 with --refit."
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            help="From one cut-off to the next, such as 7d; by default the horizon, or whole "
            "horizons that fill the split with --refit."
        ),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Train a model before each cut-off of the backtest.")
    ] = False,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Take no notice of a calibration.")
    ] = False,
    runs: RunsOption = Path("runs"),
    uri: UriOption = None,
) -> None:
    """Set a model beside last value, seasonal naive and ridge."""
    checkpoint = find_file(checkpoint, runs, uri)
    if with_backtest or refit or windows is not None or step is not None:
        others = {
            "--without": without,
            "--shuffle": shuffled,
            "--subsets": with_subsets,
            "--uncalibrated": uncalibrated,
        }
        _require_place_for_backtest(checkpoint, output, data_root, refit)
        with sigterm_told_apart():
            run_backtest(
                checkpoint,
                output,
                data_root,
                split.value,
                as_json,
                quiet,
                asked=with_backtest,
                num_windows=windows,
                step=step,
                is_refit=refit,
                misfits=[name for name, given in others.items() if given],
            )
        return
    with imports():
        from mmts.evaluation import (
            choose_ablation,
            coverage_table,
            coverage_to_json,
            evaluate,
            list_subsets,
            load_evaluation_data,
            measure_coverage,
            score_subsets,
        )
        from mmts.files import write_table, write_whole
        from mmts.folder_lock import hold_folder
        from mmts.forecasting import Forecaster
        from mmts.plots import (
            plot_error_by_step,
            plot_quantile_coverage,
            plot_subsets,
            plot_test_windows,
            to_picture,
        )
        from mmts.report import REPORT, write_report

    forecaster = Forecaster.from_checkpoint(checkpoint, calibrated=not uncalibrated)
    schema = forecaster.info.data_schema
    ablation = choose_ablation(schema, without or (), shuffled or ())
    to_compare = list_subsets(schema, ablation) if with_subsets else ()
    dataset = load_evaluation_data(forecaster.info, data_root, ablation.without)
    # Beside what was found with all streams, or before a calibration, and not in its place.
    variant = _path(_quantiles_path(forecaster.info, uncalibrated), ablation.path)
    of_split = "" if split is EvaluatedSplit.TEST else split.value
    folder = output or checkpoint.parent / "evaluation" / _path(of_split, variant)
    sources = list_sources(forecaster.info.config.data, data_root)
    require_apart_from_data(sources, [folder / name for name in _TABLES])
    with hold_folder(folder):
        evaluation = evaluate(forecaster, dataset, split.value, ablation.without, ablation.shuffled)

        numbers = evaluation.to_json()
        tables = {_BY_STEP: evaluation.by_step_table()}
        figures = {
            "error_by_step.png": plot_error_by_step(evaluation),
            "windows.png": plot_test_windows(evaluation, dataset),
        }
        coverage = measure_coverage(evaluation.windows, evaluation.targets)
        if any(coverage.values()):
            numbers["quantile_coverage"] = coverage_to_json(coverage)
            tables[_COVERAGE] = coverage_table(coverage)
            figures["coverage.png"] = plot_quantile_coverage(evaluation, coverage)
        subsets = None
        if to_compare:
            subsets = score_subsets(forecaster, dataset, evaluation, to_compare)
            numbers["subsets"] = subsets.to_json()
            tables[_SUBSETS] = subsets.table()
            figures["subsets.png"] = plot_subsets(subsets, evaluation)
        figures |= _draw_run(forecaster, dataset, checkpoint)
        found = json.dumps(numbers, indent=2, allow_nan=False)
        write_whole(folder / "evaluation.json", found + "\n")
        for name, table in tables.items():
            write_table(folder / name, table)
        for name, figure in figures.items():
            write_whole(folder / name, to_picture(figure, name))
        explained = checkpoint.parent / "explanation"
        write_report(folder, forecaster.info, dataset, forecaster.model, checkpoint, explained)

    if as_json:
        print(found)
    elif not quiet:
        _show(evaluation, coverage)
        if subsets is not None:
            _show_subsets(subsets)
        print(f"written: {folder}: evaluation.json, {', '.join([*tables, *figures])}")
        print(f"all of it, to read and to send: {folder / REPORT}")
    files = [folder / name for name in (REPORT, "evaluation.json", *tables, *figures)]
    _track(evaluation, subsets, forecaster.info, variant, checkpoint, files)


def _require_place_for_backtest(
    checkpoint: Path, output: Path | None, data_root: Path | None, is_refit: bool
) -> None:
    """Raise OutputError or TrackingError, before any work, where it would write what it must not.

    is_refit: whether it trains, and so records in MLflow, too.
    """
    from mmts.checkpoint import read_info
    from mmts.errors import TrackingError
    from mmts.tracking.place import find_trusted_store
    from mmts.tracking.store import locate_store

    config = read_info(checkpoint).config
    folder = output or checkpoint.parent / "backtest"
    sources = list_sources(config.data, data_root)
    require_apart_from_data(sources, [folder / name for name in (TABLE, SCORES)])
    home, tracking = checkpoint.resolve().parent, config.tracking
    if is_refit and tracking.enabled and find_trusted_store(tracking, home, home.parent) is None:
        raise TrackingError(
            f"--refit: would record its trainings at {locate_store(tracking.uri, home).shown}, "
            f"which {checkpoint} names, and {home} holds no record of a training that was tracked "
            "there. Put the checkpoint back into the folder of its run, or leave out --refit."
        )


def _draw_run(forecaster: Forecaster, dataset: Dataset, checkpoint: Path) -> dict[str, Figure]:
    """Draw the model, what it was trained on, and how that went, as far as it is told."""
    from mmts.plots import plot_coverage, plot_graph, plot_learning
    from mmts.report import DATA, GRAPH, LEARNING
    from mmts.run_folders.history import read_history

    name, model = forecaster.info.config.name, forecaster.info.config.model
    title = f"{name}: streams, layers and the edges between them"
    figures = {GRAPH: plot_graph(model, forecaster.model, title=title)}
    history = checkpoint.parent / "history.jsonl"
    if history.is_file():
        figures[LEARNING] = plot_learning(read_history(history))
    figures[DATA] = plot_coverage(dataset)
    return figures


def _quantiles_path(info: CheckpointInfo, uncalibrated: bool) -> str:
    """Name what was done to the quantiles, where that is not what the training did."""
    trained_so = info.config.calibration is not None
    if uncalibrated:
        return "uncalibrated" if trained_so else ""
    return "calibrated" if info.calibration is not None and not trained_so else ""


def _describe_ridge(choices: dict[str, Any]) -> str:
    from mmts.linear.path import READS_IN_WORDS

    read = READS_IN_WORDS[choices["reads"]]
    recent = choices["recent"]
    return read if recent == 1 else f"{read}, the latest {recent:.0%} of the train windows"


def _show(evaluation: Evaluation, coverage: CoverageByTarget) -> None:
    """Print what a person wants to know first."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, width=_MOST_WIDTH)
    for name, (first, end) in evaluation.dates.items():
        here = " <- evaluated" if name == evaluation.split else ""
        print(f"{name:10}  {first} to {end}{here}")
    print(
        f"{evaluation.num_windows:,} windows, {evaluation.num_values:,} observed values; "
        f"season {evaluation.season} steps; ridge on {_describe_ridge(evaluation.ridge)}"
    )
    for target in evaluation.targets:
        print()
        console.print(_table(evaluation, target, coverage[target]))
    print()
    print(evaluation.verdict)
    if len(evaluation.targets) > 1:
        for target in evaluation.targets:
            print(evaluation.judge(target))
    if evaluation.calibration is not None:
        print(evaluation.calibration)
    for note in evaluation.notes:
        print(f"note: {note}")


def _show_subsets(subsets: Subsets) -> None:
    """Print what the model's error becomes with other streams."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, width=_MOST_WIDTH)
    for target in subsets.targets:
        print()
        table = _new_table(target, "MAE", "RMSE", "WQL", "change in MAE")
        for row in subsets.rows:
            scores, change = row.scores[target], row.changes[target]
            cells = map(say_number, (scores.mae, scores.rmse, scores.wql))
            table.add_row(row.name, *cells, _say_change(change.percent, change.standard_error))
        console.print(table)
    print()
    print(subsets.method)
    for note in subsets.notes:
        print(f"note: {note}")


def _table(evaluation: Evaluation, target: str, coverage: Sequence[Coverage]) -> Table:
    intervals = [found for found in coverage if found.lower is not None]
    num_levels = len(evaluation.quantile_levels)
    of_levels = f"\n({num_levels} levels)" if num_levels else ""
    headings = [f"of {found.nominal:.0%}" for found in intervals] or [""]
    headings[0] = f"coverage {headings[0]}".rstrip()
    table = _new_table(target, "MAE", "RMSE", "MASE", "WQL", f"CRPS{of_levels}", *headings)
    for method, by_target in evaluation.scores.items():
        found = by_target[target].overall
        scores = (found.mae, found.rmse, found.mase, found.wql, found.crps_by_quantiles)
        # Only the model gives an interval.
        shares = [math.nan] * len(headings)
        if not math.isnan(found.coverage):
            shares = [interval.observed for interval in intervals]
        covered = ("-" if math.isnan(share) else f"{share:.1%}" for share in shares)
        table.add_row(method, *map(say_number, scores), *covered)
    return table


def _new_table(first: str, *headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _say_change(percent: float, standard_error: float) -> str:
    if math.isnan(percent):
        return "-"
    if percent == 0 and not standard_error > 0:
        return "0"
    # Rounded first, and 0 added, so that no zero has a minus.
    change = f"{round(percent, 2) + 0.0:+.2f}%"
    return change if math.isnan(standard_error) else f"{change} ± {standard_error:.2f}%"


def _track(
    evaluation: Evaluation,
    subsets: Subsets | None,
    info: CheckpointInfo,
    variant: str,
    checkpoint: Path,
    files: list[Path],
) -> None:
    """Add everything to the MLflow run of the training; variant: of the model, empty for none."""
    from mmts.tracking.evaluation_page import record_evaluation
    from mmts.tracking.run import reopen_run

    home = checkpoint.resolve().parent
    run = reopen_run(info.config.tracking, info.run_id, folder=home, store=home.parent)
    record_evaluation(run, evaluation, subsets, variant, checkpoint, files)
    run.finish("FINISHED")


def _path(*parts: str) -> str:
    return "/".join(filter(None, parts))


if __name__ == "__main__":
    run(evaluate)
