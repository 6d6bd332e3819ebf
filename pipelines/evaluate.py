"""`mmts evaluate`: how good a trained model is, beside simple baselines."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from mmts.checkpoint import CheckpointInfo
    from mmts.evaluation import Evaluation
    from mmts.evaluation.report import Scores


class EvaluatedSplit(StrEnum):
    """Splits that can be evaluated."""

    TEST = "test"
    VALIDATION = "validation"


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="best.mmts or last.mmts of a training.")],
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
) -> None:
    """Set a model beside last value, seasonal naive and ridge."""
    from mmts.errors import OutputError
    from mmts.evaluation import evaluate, load_evaluation_data
    from mmts.files import write_whole
    from mmts.forecasting import Forecaster
    from mmts.plots import plot_error_by_step, plot_test_windows, to_png

    forecaster = Forecaster.from_checkpoint(checkpoint)
    dataset = load_evaluation_data(forecaster.info, data_root)
    folder = output or checkpoint.parent / "evaluation"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}.") from None
    evaluation = evaluate(forecaster, dataset, split.value)

    found = json.dumps(evaluation.to_json(), indent=2, allow_nan=False)
    figures = {
        "error_by_step.png": plot_error_by_step(evaluation),
        "windows.png": plot_test_windows(evaluation, dataset),
    }
    write_whole(folder / "evaluation.json", found + "\n")
    write_whole(folder / "by_step.csv", evaluation.by_step_table().to_csv(index=False))
    for name, figure in figures.items():
        write_whole(folder / name, to_png(figure))

    if as_json:
        print(found)
    else:
        _show(evaluation)
        print(f"written: {folder}: evaluation.json, by_step.csv, {', '.join(figures)}")
    _track(evaluation, forecaster.info, checkpoint, folder, figures)


def _show(evaluation: Evaluation) -> None:
    """Print what a person wants to know first."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for name, (first, end) in evaluation.dates.items():
        here = " <- evaluated" if name == evaluation.split else ""
        print(f"{name:10}  {first} to {end}{here}")
    print(
        f"{evaluation.num_windows:,} windows, {evaluation.num_values:,} observed values; "
        f"season {evaluation.season} steps, ridge penalty {evaluation.penalty:g} per window"
    )
    for target in evaluation.targets:
        print()
        console.print(_table(evaluation, target))
    print()
    print(evaluation.verdict)
    if len(evaluation.targets) > 1:
        for target in evaluation.targets:
            print(evaluation.judge(target))
    for note in evaluation.notes:
        print(f"note: {note}")


def _table(evaluation: Evaluation, target: str) -> Table:
    from rich.table import Table

    nominal = evaluation.nominal_coverage
    of = "" if nominal is None else f" of {nominal:.0%}"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(target, no_wrap=True)
    for heading in ("MAE", "RMSE", "MASE", "WQL", f"coverage{of}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for method, by_target in evaluation.scores.items():
        scores = by_target[target].overall
        numbers = [scores.mae, scores.rmse, scores.mase, scores.wql]
        cells = ["-" if math.isnan(number) else f"{number:#.4g}" for number in numbers]
        covered = "-" if math.isnan(scores.coverage) else f"{scores.coverage:.1%}"
        table.add_row(method, *cells, covered)
    return table


def _track(
    evaluation: Evaluation,
    info: CheckpointInfo,
    checkpoint: Path,
    folder: Path,
    figures: dict[str, Figure],
) -> None:
    """Add everything to the MLflow run of the training."""
    from mmts.evaluation import ALL_TARGETS, BASELINES, MODEL
    from mmts.tracking.run import reopen_run

    run = reopen_run(info.config.tracking, info.run_id, store=checkpoint.resolve().parent.parent)
    test = evaluation.split == "test"
    prefixes = {MODEL: evaluation.split}
    prefixes |= {
        name: f"baseline/{name.replace(' ', '_')}" + ("" if test else f"/{evaluation.split}")
        for name in BASELINES
    }
    for method, prefix in prefixes.items():
        scores = evaluation.scores[method]
        run.log_metrics(_defined(prefix, scores[ALL_TARGETS].overall), step=0)
        for step, at_step in enumerate(scores[ALL_TARGETS].by_step, start=1):
            run.log_metrics(_defined(f"{prefix}/by_step", at_step), step=step)
        if len(evaluation.targets) > 1:
            for target in evaluation.targets:
                run.log_metrics(_defined(f"{prefix}/{target}", scores[target].overall), step=0)
    run.set_tags({f"{evaluation.split}.verdict": evaluation.verdict})
    place = "evaluation" if test else f"evaluation/{evaluation.split}"
    for name, figure in figures.items():
        run.log_figure(figure, f"{place}/{name}")
    for name in ("evaluation.json", "by_step.csv"):
        run.log_file(folder / name, place)
    run.finish("FINISHED")


def _defined(prefix: str, scores: Scores) -> dict[str, float]:
    from dataclasses import asdict

    return {
        f"{prefix}/{name}": value for name, value in asdict(scores).items() if not math.isnan(value)
    }


if __name__ == "__main__":
    run(evaluate)
