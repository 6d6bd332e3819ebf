"""`mmts train`: from a config and its CSV files to a checkpoint."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmts.errors import ConfigError

from .register import AliasOption, register_trained, require_registrable, show
from .tables import print_table, say_number
from .terminal import AsJson, Quiet, imports, print_json, run, sigterm_told_apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmts.config import ExperimentConfig
    from mmts.run_folders.history import Epoch
    from mmts.serving.registry import Registered
    from mmts.training.assignment import TrainingResult


def train(
    config: Annotated[
        Path | None, typer.Argument(help="YAML file of the experiment; --resume needs none.")
    ] = None,
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
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN_DIR", help="Go on with the training of this folder, which was stopped."
        ),
    ] = None,
    register: Annotated[
        str | None, typer.Option(help="Name under which to register best.mmts in MLflow.")
    ] = None,
    alias: AliasOption = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the model of a config and write best.mmts and last.mmts."""
    with imports():
        from mmts import experiment as experiments
        from mmts.config import load_config
        from mmts.run_folders.history import read_history
        from mmts.run_folders.names import HISTORY
        from mmts.training.processes import find_processes

    has_bar = sys.stderr.isatty() and not quiet
    with sigterm_told_apart():
        if resume is not None:
            experiment = _begun(resume, config, overrides, run_dir)
            require_registrable(register, alias, experiment.tracking)
            result = experiments.resume(resume, experiment if config else None, has_bar)
        else:
            if config is None:
                raise ConfigError("name the YAML file of an experiment, or --resume a run.")
            experiment = load_config(config, overrides or ())
            require_registrable(register, alias, experiment.tracking)
            experiment, run_id = adopt_run(experiment)
            result = experiments.train(experiment, run_dir, has_bar, run_id=run_id, runs=runs)
    if not find_processes(experiment.training).is_first:
        return
    epochs = read_history(result.folder / HISTORY)
    if not (quiet or as_json):
        _show(result, epochs)
    made = None
    if register is not None:
        made = register_trained(result, register, alias, experiment.tracking)
    if as_json:
        print_json(_to_json(result, epochs, made))
    elif made is not None and not quiet:
        show(made, result.folder.parent, experiment.tracking.uri)


def _begun(
    folder: Path, config: Path | None, overrides: list[str] | None, run_dir: Path | None
) -> ExperimentConfig:
    """Return the config of a training to go on with, as it was begun or as it is given again."""
    from mmts.config import load_config
    from mmts.training.state import read_state

    if run_dir is not None:
        raise ConfigError("--run-dir: a run stays in its folder. Leave it out beside --resume.")
    if config is not None:
        return adopt_run(load_config(config, overrides or ()))[0]
    if overrides:
        raise ConfigError(
            "--set: a training goes on with the config that it was begun with. Leave it out "
            "beside --resume, or train anew."
        )
    return read_state(folder).experiment()


def _to_json(
    result: TrainingResult, epochs: Sequence[Epoch], made: Registered | None
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "checkpoint": str(result.checkpoint),
        "folder": str(result.folder),
        "run_id": result.run_id,
        "parameters": result.num_parameters,
        "epochs": result.num_epochs,
        "best_epoch": result.best_epoch,
        "validation_loss": result.best_loss,
        "seconds": round(result.seconds, 3),
        "registered": None if made is None else {**asdict(made), "address": made.address},
        "history": [asdict(epoch) for epoch in epochs],
    }


def _show(result: TrainingResult, epochs: Sequence[Epoch]) -> None:
    """Print what was reached, and what to do next."""
    words = {0: "start, the linear path alone"}
    for number, file in ((result.best_epoch, "best"), (result.num_epochs, "last")):
        before = f"{words[number]}; " if number in words else ""
        words[number] = f"{before}{file}, kept in {file}.mmts"
    print()
    print_table(
        ["epoch", "", "train loss", "validation loss"],
        [
            [
                str(epoch.number),
                words[epoch.number],
                say_number(epoch.train_loss),
                say_number(epoch.validation_loss),
            ]
            for epoch in epochs
            if epoch.number in words
        ],
        num_words=2,
    )
    print(
        f"\ntrained {result.num_parameters:,} weights in {result.seconds:.0f} s{_say_speed(epochs)}"
    )
    print(f"checkpoint: {result.checkpoint}")
    print(f"next:       mmts evaluate {result.checkpoint}")
    print(f"            mmts explain {result.checkpoint}")
    print(f"            mmts forecast {result.checkpoint} --output forecast.csv")


def adopt_run(experiment: ExperimentConfig) -> tuple[ExperimentConfig, str | None]:
    """Record in the run that `mlflow run` has begun, unless the config names a store itself.

    Returns the config, which then names the store of that run, and the id of the run.
    """
    # How MLflow tells the commands of an MLproject; there is no other way.
    run_id, uri = os.environ.get("MLFLOW_RUN_ID"), os.environ.get("MLFLOW_TRACKING_URI")
    tracking = experiment.tracking
    if not run_id or not uri or not tracking.enabled or tracking.uri is not None:
        return experiment, None
    from mmts.errors import TrackingError
    from mmts.tracking.secrets import split_user

    # The config goes into the checkpoint: what is secret of the address stays where MLflow looks.
    uri, user, password = split_user(uri)
    for name, value in (("USERNAME", user), ("PASSWORD", password)):
        if value is not None:
            os.environ.setdefault(f"MLFLOW_TRACKING_{name}", value)
    try:
        named = type(tracking).model_validate({**tracking.model_dump(), "uri": uri})
    except ValueError:
        raise TrackingError(
            "MLFLOW_TRACKING_URI holds a password or a token in its query, which would be written "
            "into every checkpoint. Give it in variables of its own, or in a password file."
        ) from None
    return experiment.model_copy(update={"tracking": named}), run_id


def _say_speed(epochs: Sequence[Epoch]) -> str:
    from mmts.run_folders.history import mean_speed

    mean = mean_speed(epochs)
    if mean is None:
        return ""
    waits = [epoch.wait_share for epoch in epochs if epoch.wait_share is not None]
    waited = f", {sum(waits) / len(waits):.1%} of the time waiting for data" if waits else ""
    return f": {mean:,.0f} windows/s{waited}"


if __name__ == "__main__":
    run(train)
