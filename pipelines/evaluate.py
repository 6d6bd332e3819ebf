"""`mmts evaluate`: how good a trained model is, beside simple baselines."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .addresses import CheckpointArgument, RunsOption, UriOption, find_file
from .backtest import run_backtest
from .terminal import imports, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from rich.table import Table

    from mmts.checkpoint import CheckpointInfo
    from mmts.evaluation import Coverage, Evaluation, Subsets
    from mmts.evaluation.coverage import CoverageByTarget
    from mmts.evaluation.report import Scores
    from mmts.evaluation.subsets import Change


_MOST_WIDTH = 200
"""Of a table, in characters; in a narrower terminal lines break, and no number is cut."""


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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, and nothing else.")
    ] = False,
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
        run_backtest(
            checkpoint,
            output,
            data_root,
            split.value,
            as_json,
            asked=with_backtest,
            num_windows=windows,
            step=step,
            is_refit=refit,
            misfits=[name for name, given in others.items() if given],
        )
        return
    with imports():
        from mmts.errors import OutputError
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
        from mmts.files import write_whole
        from mmts.forecasting import Forecaster
        from mmts.plots import (
            plot_error_by_step,
            plot_quantile_coverage,
            plot_subsets,
            plot_test_windows,
            to_png,
        )

    forecaster = Forecaster.from_checkpoint(checkpoint, calibrated=not uncalibrated)
    schema = forecaster.info.data_schema
    ablation = choose_ablation(schema, without or (), shuffled or ())
    to_compare = list_subsets(schema, ablation) if with_subsets else ()
    dataset = load_evaluation_data(forecaster.info, data_root, ablation.without)
    # Beside what was found with all streams, or before a calibration, and not in its place.
    variant = _path(_quantiles_path(forecaster.info, uncalibrated), ablation.path)
    folder = output or checkpoint.parent / "evaluation" / variant
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}.") from None
    evaluation = evaluate(forecaster, dataset, split.value, ablation.without, ablation.shuffled)

    numbers = evaluation.to_json()
    tables = {"by_step.csv": evaluation.by_step_table()}
    figures = {
        "error_by_step.png": plot_error_by_step(evaluation),
        "windows.png": plot_test_windows(evaluation, dataset),
    }
    coverage = measure_coverage(evaluation.windows, evaluation.targets)
    if any(coverage.values()):
        numbers["quantile_coverage"] = coverage_to_json(coverage)
        tables["coverage.csv"] = coverage_table(coverage)
        figures["coverage.png"] = plot_quantile_coverage(evaluation, coverage)
    subsets = None
    if to_compare:
        subsets = score_subsets(forecaster, dataset, evaluation, to_compare)
        numbers["subsets"] = subsets.to_json()
        tables["subsets.csv"] = subsets.table()
        figures["subsets.png"] = plot_subsets(subsets, evaluation)
    found = json.dumps(numbers, indent=2, allow_nan=False)
    write_whole(folder / "evaluation.json", found + "\n")
    for name, table in tables.items():
        write_whole(folder / name, table.to_csv(index=False))
    for name, figure in figures.items():
        write_whole(folder / name, to_png(figure))

    if as_json:
        print(found)
    else:
        _show(evaluation, coverage)
        if subsets is not None:
            _show_subsets(subsets)
        print(f"written: {folder}: evaluation.json, {', '.join([*tables, *figures])}")
    _track(evaluation, subsets, forecaster.info, variant, checkpoint, folder, list(tables), figures)


def _quantiles_path(info: CheckpointInfo, uncalibrated: bool) -> str:
    """Name what was done to the quantiles, where that is not what the training did."""
    trained_so = info.config.calibration is not None
    if uncalibrated:
        return "uncalibrated" if trained_so else ""
    return "calibrated" if info.calibration is not None and not trained_so else ""


def _describe_ridge(choices: dict[str, Any]) -> str:
    read = "all streams" if choices["reads"] == "all" else "the target's own past"
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
            cells = map(_say, (scores.mae, scores.rmse, scores.wql))
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
        table.add_row(method, *map(_say, scores), *covered)
    return table


def _new_table(first: str, *headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _say(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:#.4g}"


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
    folder: Path,
    tables: list[str],
    figures: dict[str, Figure],
) -> None:
    """Add everything to the MLflow run of the training; variant: of the model, empty for none."""
    from mmts.evaluation import ALL_TARGETS, BASELINES, MODEL
    from mmts.tracking.run import reopen_run

    run = reopen_run(info.config.tracking, info.run_id, store=checkpoint.resolve().parent.parent)
    split, ablated = evaluation.split, variant
    other_split = "" if split == "test" else split
    prefixes = {MODEL: _path(split, ablated)}
    prefixes |= {
        name: _path("baseline", name.replace(" ", "_"), other_split, ablated) for name in BASELINES
    }
    for method, prefix in prefixes.items():
        scores = evaluation.scores[method]
        run.log_metrics(_defined(prefix, scores[ALL_TARGETS].overall), step=0)
        for step, at_step in enumerate(scores[ALL_TARGETS].by_step, start=1):
            run.log_metrics(_defined(f"{prefix}/by_step", at_step), step=step)
        if len(evaluation.targets) > 1:
            for target in evaluation.targets:
                run.log_metrics(_defined(f"{prefix}/{target}", scores[target].overall), step=0)
    if subsets is not None:
        # The first is the evaluation itself, recorded above.
        for row in subsets.rows[1:]:
            prefix = _path(split, row.ablation.path)
            run.log_metrics(_defined(prefix, row.scores[ALL_TARGETS]), step=0)
            run.log_metrics(_defined(f"{prefix}/mae_change", row.changes[ALL_TARGETS]), step=0)
            if len(subsets.targets) > 1:
                for target in subsets.targets:
                    run.log_metrics(_defined(f"{prefix}/{target}", row.scores[target]), step=0)
    run.set_tags({_path(split, ablated, "verdict").replace("/", "."): evaluation.verdict})
    place = _path("evaluation", other_split, ablated)
    for name, figure in figures.items():
        run.log_figure(figure, f"{place}/{name}")
    for name in ("evaluation.json", *tables):
        run.log_file(folder / name, place)
    run.finish("FINISHED")


def _path(*parts: str) -> str:
    return "/".join(filter(None, parts))


def _defined(prefix: str, scores: Scores | Change) -> dict[str, float]:
    from dataclasses import asdict

    return {
        f"{prefix}/{name}": value for name, value in asdict(scores).items() if not math.isnan(value)
    }


if __name__ == "__main__":
    run(evaluate)
