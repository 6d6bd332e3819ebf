"""`mmts calibrate`: set the quantiles of a trained model right on its validation split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .addresses import CheckpointArgument, RunsOption, UriOption, find_file
from .inputs import list_sources, require_apart_from_data
from .terminal import AsJson, Quiet, imports, print_json, run

if TYPE_CHECKING:
    from mmts.calibration.fitting import CalibrationReport


def calibrate(
    checkpoint: CheckpointArgument,
    output: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to write; by default `calibrated.mmts` beside the first."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data, where it has moved since.")
    ] = None,
    by_step: Annotated[
        bool | None,
        typer.Option(
            "--by-step/--all-steps",
            help="A factor for each step of the horizon, or one for all; by default each where "
            "the validation split is long enough.",
        ),
    ] = None,
    only_widen: Annotated[
        bool | None,
        typer.Option(
            "--only-widen/--both-ways",
            help="Whether quantiles may only move away from the median; by default both ways.",
        ),
    ] = None,
    runs: RunsOption = Path("runs"),
    uri: UriOption = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Move the quantiles of a model so that they hold their share of the validation split."""
    with imports():
        from mmts.calibration.config import CalibrationConfig
        from mmts.calibration.fitting import calibrate
        from mmts.checkpoint import save_checkpoint
        from mmts.errors import OutputError
        from mmts.evaluation import load_evaluation_data
        from mmts.files import require_folder
        from mmts.forecasting import Forecaster

    checkpoint = find_file(checkpoint, runs, uri)
    target = output or checkpoint.with_name("calibrated.mmts")
    if output is None and target == checkpoint:
        raise OutputError(
            f"{checkpoint}: the result would take its place. Name another file with --output."
        )
    require_folder(target)
    forecaster = Forecaster.from_checkpoint(checkpoint)
    info = forecaster.info
    require_apart_from_data(list_sources(info.config.data, data_root), [target], [checkpoint])
    asked = {"by_step": by_step, "only_widen": only_widen}
    config = (info.config.calibration or CalibrationConfig()).model_copy(
        update={name: value for name, value in asked.items() if value is not None}
    )
    dataset = load_evaluation_data(info, data_root)
    calibrated, report = calibrate(forecaster, dataset, config)
    save_checkpoint(target, calibrated.info, calibrated.model.state_dict())
    if as_json:
        print_json(_to_json(report, target))
    if as_json or quiet:
        return
    first, end = next(
        (first, end)
        for name, first, end in dataset.split.dates(dataset.schema)
        if name == "validation"
    )
    print(f"calibrated on validation, {first} to {end}")
    _show(report)
    print(f"checkpoint: {target}")
    print(f"next:       mmts evaluate {target}")


def _to_json(report: CalibrationReport, checkpoint: Path) -> dict[str, Any]:
    """Return the shares of values below each quantile, before and after, and the factors."""
    calibration = report.calibration
    return {
        "checkpoint": str(checkpoint),
        "windows": calibration.num_windows,
        "windows_apart": calibration.num_apart,
        "by_step": calibration.config.by_step,
        "only_widen": calibration.config.only_widen,
        "targets": list(report.targets),
        "quantiles": [
            {
                "level": level,
                "below_before": float(report.before.below[place]),
                "below_after": float(report.after.below[place]),
                "factors": calibration.factors[..., place].tolist(),
            }
            for place, level in enumerate(report.quantile_levels)
        ],
        "outlook": report.outlook,
    }


def _show(report: CalibrationReport) -> None:
    """Print what was found, and whether it would have helped on windows that came later."""
    from rich.console import Console
    from rich.table import Table

    calibration = report.calibration
    steps = "a factor for each step" if calibration.config.by_step else "one factor for all steps"
    widen = ", only to widen" if calibration.config.only_widen else ""
    print(
        f"{calibration.num_windows:,} windows, {calibration.num_apart:,} of which do not overlap; "
        f"{steps}{widen}"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("quantile", "should lie below", "did", "do now"):
        table.add_column(heading, justify="right", no_wrap=True)
    for target in report.targets:
        table.add_column(f"factors of {target}", justify="right", no_wrap=True)
    for place, level in enumerate(report.quantile_levels):
        shares = (level, report.before.below[place], report.after.below[place])
        factors = calibration.factors[..., place]
        table.add_row(
            f"{level:g}",
            *(f"{share:.1%}" for share in shares),
            *(
                "-"
                if level == 0.5
                else _say_range(factors[:, target].min(), factors[:, target].max())
                for target in range(len(report.targets))
            ),
        )
    print()
    Console(highlight=False, soft_wrap=True).print(table)
    print()
    print(report.outlook)


def _say_range(low: float, high: float) -> str:
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    run(calibrate)
