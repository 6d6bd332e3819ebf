"""`mmts train`: from a config and its CSV files to a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .terminal import imports, run


def train(
    config: Annotated[Path, typer.Argument(help="YAML file of the experiment.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key: training.max_epochs=5. May be repeated."),
    ] = None,
    runs: Annotated[
        Path, typer.Option(help="Folder in which the run's own folder is made.")
    ] = Path("runs"),
    run_dir: Annotated[
        Path | None, typer.Option(help="The run's own folder, new or empty.")
    ] = None,
) -> None:
    """Train the model of a config and write best.mmts and last.mmts."""
    with imports():
        from mmts.config import load_config
        from mmts.experiment import new_run_folder, train
        from mmts.training.processes import find_processes

    experiment = load_config(config, overrides or ())
    folder = run_dir or new_run_folder(runs, experiment.name)
    result = train(experiment, folder, progress_bar=sys.stderr.isatty())
    if not find_processes(experiment.training).is_first:
        return
    print(
        f"\ntrained {result.num_parameters:,} weights in {result.seconds:.0f} s; "
        f"best of {result.num_epochs} epochs: {result.best_epoch}, "
        f"validation loss {result.best_loss:.4f}"
    )
    print(f"checkpoint: {result.checkpoint}")
    print(f"next:       mmts evaluate {result.checkpoint}")
    print(f"            mmts explain {result.checkpoint}")
    print(f"            mmts forecast {result.checkpoint} --output forecast.csv")


if __name__ == "__main__":
    run(train)
