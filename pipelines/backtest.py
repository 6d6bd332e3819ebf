"""`mmts evaluate --backtest`: how good a model would have been at a row of past moments."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .tables import say_number
from .terminal import imports

if TYPE_CHECKING:
    from rich.table import Table

    from mmts.backtest.report import Backtest, Spread
    from mmts.checkpoint import CheckpointInfo

TABLE, SCORES, PICTURE, REPORT = (
    "backtest.csv", "backtest_scores.csv", "backtest.png", "backtest.json",
)  # fmt: skip
_WIDE = 1000


def run_backtest(
    checkpoint: Path,
    output: Path | None,
    data_root: Path | None,
    split: str,
    as_json: bool,
    quiet: bool,
    *,
    asked: bool,
    num_windows: int | None,
    step: str | None,
    is_refit: bool,
    misfits: Sequence[str],
) -> None:
    """Forecast from a row of cut-offs, and write, show and record what comes of it.

    asked: whether the command said so. misfits: options given that say nothing of a backtest.
    """
    with imports():
        from mmts.backtest.cutoffs import choose_cutoffs, count_steps, fault_of_windows
        from mmts.backtest.run import backtest, backtest_refitted
        from mmts.errors import ConfigError, raise_all
        from mmts.evaluation import load_evaluation_data
        from mmts.files import write_table, write_whole
        from mmts.folder_lock import hold_folder
        from mmts.forecasting import Forecaster
        from mmts.plots import plot_backtest, to_png

    forecaster = Forecaster.from_checkpoint(checkpoint)
    problems, num_steps = [*_faults_of_options(asked, num_windows, step, is_refit, misfits)], None
    problems += fault_of_windows(num_windows)
    try:
        num_steps = None if step is None else count_steps(step, forecaster.info.data_schema)
    except ConfigError as error:
        problems.append(str(error))
    raise_all(ConfigError, problems)

    dataset = load_evaluation_data(forecaster.info, data_root)
    cutoffs = choose_cutoffs(dataset, split, num_windows, num_steps, is_refit)
    parts = {
        "refit": is_refit,
        "calibrated": forecaster.info.is_calibrated_since,
        "validation": split == "validation",
    }
    # Beside what was found in another way, and not in its place.
    name = "-".join(["backtest", *(part for part, holds in parts.items() if holds)])
    folder = output or checkpoint.parent / name
    with hold_folder(folder):
        if is_refit:
            store = checkpoint.resolve().parent.parent
            found = backtest_refitted(forecaster, dataset, cutoffs, split, folder, store, data_root)
        else:
            found = backtest(forecaster, dataset, cutoffs, split)

        report = json.dumps(found.to_json(), indent=2, allow_nan=False)
        write_whole(folder / REPORT, report + "\n")
        write_table(folder / TABLE, found.forecasts)
        write_table(folder / SCORES, found.scores_table())
        write_whole(folder / PICTURE, to_png(plot_backtest(found)))
    if as_json:
        print(report)
    elif not quiet:
        _show(found)
        print(f"written: {folder}: {REPORT}, {TABLE}, {SCORES}, {PICTURE}")
    _track(found, forecaster.info, checkpoint, folder)


def _faults_of_options(
    asked: bool, num_windows: int | None, step: str | None, is_refit: bool, misfits: Sequence[str]
) -> Iterator[str]:
    if not asked:
        own = {"--windows": num_windows, "--step": step, "--refit": is_refit or None}
        given = ", ".join(name for name, value in own.items() if value is not None)
        yield f"{given}: belongs to a backtest. Add --backtest, or leave it out."
        return
    if misfits:
        yield (
            f"{', '.join(misfits)}: cannot be combined with --backtest, which forecasts with what "
            "is known at each cut-off. Leave one of them out."
        )


def _show(found: Backtest) -> None:
    """Print what a person wants to know first."""
    from rich.console import Console

    # As wide as it needs to be: a terminal breaks the lines, and cuts no number short.
    console = Console(highlight=False, soft_wrap=True, width=_WIDE)
    print(found.setting)
    if found.is_refit:
        for cutoff in found.cutoffs:
            print(
                f"{cutoff.cutoff}: {cutoff.num_train_windows:,} train windows, best epoch "
                f"{cutoff.epoch}; season {cutoff.season} steps"
            )
    else:
        print(f"{found.split} split; season {found.cutoffs[0].season} steps")
    for target in found.targets:
        print()
        console.print(_table(found, target))
    print()
    print("mean over cut-offs ± standard deviation between them")
    print(found.verdict)
    if len(found.targets) > 1:
        for target in found.targets:
            print(found.judge(target))
    for note in found.notes:
        print(f"note: {note}")


def _table(found: Backtest, target: str) -> Table:
    from rich.table import Table

    from mmts.evaluation import BASELINES, MODEL

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(target, no_wrap=True)
    nominal = "" if found.nominal_coverage is None else f" of {found.nominal_coverage:.0%}"
    for heading in ("MAE", "RMSE", "MASE", "WQL", f"coverage{nominal}", "model better"):
        table.add_column(heading, justify="right", no_wrap=True)
    for method in (MODEL, *BASELINES):
        cells = [
            _with_deviation(found.spread(method, target, measure), say_number, "{:.2g}")
            for measure in ("mae", "rmse", "mase", "wql")
        ]
        covered = found.spread(method, target, "coverage")
        cells.append(_with_deviation(covered, "{:.1%}".format, "{:.0%}"))
        comparison = found.comparisons[target].get(method)
        cells.append(
            "-" if comparison is None else f"{comparison.num_better} of {comparison.num_cutoffs}"
        )
        table.add_row(method, *cells)
    return table


def _with_deviation(spread: Spread, say: Callable[[float], str], deviation: str) -> str:
    if math.isnan(spread.mean):
        return "-"
    said = say(spread.mean)
    return (
        said if math.isnan(spread.deviation) else f"{said} ± {deviation.format(spread.deviation)}"
    )


def _track(found: Backtest, info: CheckpointInfo, checkpoint: Path, folder: Path) -> None:
    """Add everything to the MLflow run of the model's training."""
    from dataclasses import asdict

    from mmts.backtest.report import MEASURES
    from mmts.evaluation import ALL_TARGETS, BASELINES, MODEL
    from mmts.tracking.run import reopen_run

    home = checkpoint.resolve().parent
    run = reopen_run(info.config.tracking, info.run_id, folder=home, store=home.parent)
    other = [] if found.split == "test" else [found.split]
    place = "/".join(["backtest", *(["refit"] if found.is_refit else []), *other])
    whole = found.all_targets[-1]
    for method in (MODEL, *BASELINES):
        prefix = f"{place}/{method.replace(' ', '_')}"
        for target in found.all_targets:
            path = prefix if target in (whole, ALL_TARGETS) else f"{prefix}/{target}"
            spreads = {name: found.spread(method, target, name) for name in MEASURES}
            means = {f"{path}/{name}": spread.mean for name, spread in spreads.items()}
            deviations = {
                f"{path}/{name}_deviation": spread.deviation for name, spread in spreads.items()
            }
            run.log_metrics(_defined(means | deviations), step=0)
        for number, cutoff in enumerate(found.cutoffs, start=1):
            scores = asdict(cutoff.scores[method][whole])
            run.log_metrics(
                _defined({f"{prefix}/by_cutoff/{name}": scores[name] for name in MEASURES}),
                step=number,
            )
        for number, at_step in enumerate(found.by_step[method][whole], start=1):
            scores = asdict(at_step)
            run.log_metrics(
                _defined({f"{prefix}/by_step/{name}": scores[name] for name in MEASURES}),
                step=number,
            )
    run.set_tags({f"{place.replace('/', '.')}.verdict": found.verdict})
    for name in (PICTURE, REPORT, TABLE, SCORES):
        run.log_file(folder / name, place)
    run.finish("FINISHED")


def _defined(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not math.isnan(value)}
