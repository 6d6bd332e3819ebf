"""`mmts runs`: what has been trained, how two runs differ, and what MLflow has missed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .tables import print_table, say_number
from .terminal import AsJson, imports, print_json, run_app

if TYPE_CHECKING:
    from mmts.run_folders.comparison import Comparison
    from mmts.run_folders.folder import RunFolder
    from mmts.tracking.sync import Synced

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="List what has been trained, compare runs, and bring what is missing to MLflow.",
)

_WIDEST = 60
"""Characters of a setting in a table; in JSON nothing is cut."""


@app.command("list")
def list_(
    runs: Annotated[Path, typer.Argument(help="Folder of the runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs in a folder, the newest first."""
    with imports():
        from mmts.run_folders.folder import is_run, list_runs, read_run

    found, studies = ([read_run(runs)], []) if is_run(runs) else list_runs(runs)
    if as_json:
        print_json([run.to_json() for run in found])
        return
    if found:
        headings = (
            "run",
            "began",
            "state",
            "epochs",
            "best epoch",
            "validation loss",
            "test MAE",
            "best baseline",
        )
        print_table(headings, [_row(run) for run in found], num_words=3)
    else:
        print(f"no run in {runs}")
    for run in found:
        for note in run.notes:
            print(f"note: {note}")
    for study in studies:
        print(f"note: {study} is a study: mmts runs list {study / 'trials'}")


@app.command()
def compare(
    run_folders: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...", help="Folders of two runs or more, or their names in --runs."
        ),
    ],
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show where the configs of runs differ, and what was measured of each."""
    with imports():
        from mmts.errors import RunError
        from mmts.run_folders.comparison import compare_runs
        from mmts.run_folders.folder import find_run, read_run

    if len(run_folders) < 2:
        raise RunError(f"{run_folders[0]}: is one run alone. Name another to compare it with.")
    comparison = compare_runs([read_run(find_run(given, runs)) for given in run_folders])
    if as_json:
        print_json(comparison.to_json())
    else:
        _show(comparison)


@app.command()
def sync(
    run_folders: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...]", help="Folders of runs, or their names in --runs; by default all."
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Bring to MLflow what was recorded while it was away; to do so again changes nothing."""
    with imports():
        from mmts.errors import TrackingError, raise_all
        from mmts.run_folders.folder import find_run
        from mmts.tracking.sync import sync_runs

    folders = [find_run(given, runs) for given in run_folders or ()] or [runs]
    found = []
    for folder in folders:
        for synced in sync_runs(folder):
            found.append(synced)
            if not as_json:
                print(_say_synced(synced), flush=True)
                for what in synced.left_out:
                    print(f"note: {synced.folder}: refused and left out: {what}")
    faults = [_say_fault(synced) for synced in found if synced.fault is not None]
    if as_json and not faults:
        print_json([_synced_to_json(synced) for synced in found])
    raise_all(TrackingError, faults)


def _say_synced(synced: Synced) -> str:
    if synced.is_in_use:
        return f"{synced.folder}: in use by a command, which brings what is missing itself"
    sent = f"{synced.num_values:,} values and {synced.num_files:,} files sent"
    if synced.fault is not None:
        return f"{synced.folder}: {sent}, not all"
    if synced.num_values or synced.num_files:
        return f"{synced.folder}: {sent} to run {synced.run_id} at {synced.store}"
    return f"{synced.folder}: nothing was missing of run {synced.run_id} at {synced.store}"


def _say_fault(synced: Synced) -> str:
    if synced.store is None:
        return f"{synced.fault}"
    return (
        f"{synced.folder}: MLflow at {synced.store}: {synced.fault}. What is missing stays in the "
        "folder of the run; try again when MLflow answers."
    )


def _synced_to_json(synced: Synced) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(synced), "folder": str(synced.folder)}


def _row(run: RunFolder) -> list[str]:
    from mmts.run_folders.evaluations import MODEL

    best, test = run.best, run.evaluation()
    error, beside = None, ""
    if test is not None:
        error = test.scores[MODEL]["mae"]
        baseline = test.best_baseline()
        if error is not None and baseline is not None:
            beside = f"{baseline[0]} {say_number(baseline[1])}"
    return [
        run.name,
        f"{run.began:%Y-%m-%d %H:%M}",
        run.state,
        f"{run.num_epochs}" + ("" if run.max_epochs is None else f"/{run.max_epochs}"),
        "-" if best is None else str(best.number),
        say_number(None if best is None else best.validation_loss),
        say_number(error),
        beside,
    ]


def _show(comparison: Comparison) -> None:
    """Print both tables, and what forbids to compare."""
    if comparison.config:
        rows = [[key, *map(_say, values)] for key, values in comparison.config.items()]
        print_table(["config", *comparison.runs], rows, num_words=len(comparison.runs) + 1)
    else:
        print("config: no difference")
    print()
    is_pair = len(comparison.runs) == 2
    rows = [
        [name, *map(say_number, values), *([_say_change(*values)] if is_pair else [])]
        for name, values in comparison.metrics.items()
    ]
    print_table(["", *comparison.runs, *(["change"] if is_pair else [])], rows)
    if comparison.notes:
        print()
    for note in comparison.notes:
        print(f"note: {note}")


def _say(value: Any) -> str:
    from mmts.run_folders.comparison import ABSENT

    if value is ABSENT:
        return "-"
    if isinstance(value, dict):
        # A whole group that the other has not: what is set in it.
        value = {key: held for key, held in value.items() if held not in (None, [], {})}
    said = value if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= _WIDEST else said[: _WIDEST - 3] + "..."


def _say_change(before: float | None, after: float | None) -> str:
    if before is None or after is None or isinstance(before, int) or not before > 0:
        return ""
    # Rounded first, and 0 added, so that no zero has a minus.
    return f"{round(100 * (after - before) / before, 1) + 0.0:+.1f}%"


if __name__ == "__main__":
    run_app(app)
