"""`mmts tune`: from a config with a search space to the config that does best on validation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .inputs import list_sources, require_apart_from_data
from .terminal import FAILED, AsJson, Quiet, imports, print_json, run, sigterm_told_apart

if TYPE_CHECKING:
    from rich.table import Table

    from mmts.tuning.study import TrialRecord
    from mmts.tuning.tune import StudyResult

_WIDE = 1000


def tune(
    config: Annotated[
        Path, typer.Argument(help="YAML file of the experiment, with a section `tuning`.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key: tuning.num_trials=50. May be repeated."),
    ] = None,
    runs: Annotated[
        Path, typer.Option(help="Folder in which the study's own folder is made.")
    ] = Path("runs"),
    study: Annotated[
        Path | None,
        typer.Option(help="The study's own folder; by default named after the experiment."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials of the whole study: tuning.num_trials.")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(help="Time, such as 2h, after which none begins: tuning.timeout."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train at the same time: tuning.workers.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search for settings, and write the best config; again, it goes on with what is missing."""
    with imports():
        from mmts.tuning.folder import StudyFolder
        from mmts.tuning.space import load_searched_config
        from mmts.tuning.tune import tune

    short = {"num_trials": trials, "timeout": timeout, "workers": workers}
    given = [f"tuning.{name}={value}" for name, value in short.items() if value is not None]
    searched = load_searched_config(config, [*(overrides or ()), *given])
    folder = study or runs / f"{searched.config.name}-study"
    require_apart_from_data(list_sources(searched.config.data), [StudyFolder(folder).table])
    with sigterm_told_apart():
        result = tune(searched, folder)
    if as_json:
        print_json(_to_json(result))
    elif not quiet:
        _show(result, list(searched.tuning.search))
    if result.interrupt is not None:
        with sigterm_told_apart():
            raise result.interrupt
    if result.first_failure is not None:
        print(
            f"all {len(result.records)} trials failed, the first because: {result.first_failure}",
            file=sys.stderr,
        )
        raise typer.Exit(FAILED)


def _to_json(result: StudyResult) -> dict[str, Any]:
    from dataclasses import asdict

    best, folder = result.best, result.folder
    return {
        "study": str(folder.path),
        "trials": [asdict(record) for record in result.records],
        "missing": result.num_missing,
        "stopped": result.interrupt is not None,
        "best_trial": None if best is None else best.number,
        "validation_loss": None if best is None else best.loss,
        "config": None if best is None else str(folder.best_config),
        "checkpoint": None if best is None else str(folder.best_checkpoint),
        "table": str(folder.table),
    }


def _show(result: StudyResult, keys: list[str]) -> None:
    """Print all trials, the best first, and what to do next."""
    if result.records:
        from rich.console import Console

        print()
        # As wide as it needs to be: a terminal breaks the lines, and cuts no number short.
        Console(highlight=False, soft_wrap=True, width=_WIDE).print(_table(result.records, keys))
    counts = {
        outcome: sum(record.outcome == outcome for record in result.records)
        for outcome in ("complete", "pruned", "failed")
    }
    print("\ntrials: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    if result.num_missing:
        print(f"        {result.num_missing} missing; the same command goes on with them")
    print(f"table:  {result.folder.table}")
    if result.best is not None:
        print(
            f"best:   trial {result.best.number}, validation loss {result.best.loss:.4f}; "
            "the test split was not looked at"
        )
        print(f"config: {result.folder.best_config}")
        print(f"next:   mmts evaluate {result.folder.best_checkpoint}")
        print(f"        mmts train {result.folder.best_config}")


def _table(records: list[TrialRecord], keys: list[str]) -> Table:
    from rich.table import Table

    from mmts.tuning.trials import say_value

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("trial", "validation loss", "epochs", "seconds", *_short(keys)):
        table.add_column(heading, justify="right", no_wrap=True)
    for record in sorted(records, key=_rank):
        loss = record.outcome if record.loss is None else f"{record.loss:.4f}"
        pruned = " pruned" if record.outcome == "pruned" else ""
        table.add_row(
            str(record.number),
            loss + pruned,
            "-" if record.num_epochs is None else str(record.num_epochs),
            "-" if record.seconds is None else f"{record.seconds:.1f}",
            *(say_value(record.values[key]) if key in record.values else "-" for key in keys),
        )
    return table


def _rank(record: TrialRecord) -> tuple[int, float, int]:
    place = ("complete", "pruned", "failed").index(record.outcome)
    return place, record.loss if record.loss is not None else 0.0, record.number


def _short(keys: list[str]) -> list[str]:
    """Leave out the section of each key, where that leaves no two alike."""
    ends = [key.partition(".")[2] or key for key in keys]
    return ends if len(set(ends)) == len(ends) else keys


if __name__ == "__main__":
    run(tune)
