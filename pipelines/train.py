"""`mmts train`: from a config and its CSV files to a checkpoint."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .register import AliasOption, show
from .terminal import imports, run

if TYPE_CHECKING:
    from mmts.config import ExperimentConfig
    from mmts.experiment import TrainingResult
    from mmts.tracking.config import TrackingConfig


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
    register: Annotated[
        str | None, typer.Option(help="Name under which to register best.mmts in MLflow.")
    ] = None,
    alias: AliasOption = None,
) -> None:
    """Train the model of a config and write best.mmts and last.mmts."""
    with imports():
        from mmts.config import load_config
        from mmts.experiment import new_run_folder, train
        from mmts.training.processes import find_processes

    experiment = load_config(config, overrides or ())
    require_registrable(register, alias, experiment.tracking)
    experiment, run_id = adopt_run(experiment)
    folder = run_dir or new_run_folder(runs, experiment.name)
    result = train(experiment, folder, progress_bar=sys.stderr.isatty(), run_id=run_id)
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
    if register is not None:
        register_trained(result, register, alias, experiment.tracking)


def require_registrable(register: str | None, alias: str | None, tracking: TrackingConfig) -> None:
    """Raise TrackingError, before hours of training, where what it makes could not be registered.

    register, alias: as the command was given them.
    """
    from mmts.errors import TrackingError

    if register is None and alias is None:
        return
    from mmts.serving.registry import require_names

    if register is None:
        raise TrackingError(f"--alias {alias}: belongs to a registered model. Add --register NAME.")
    if not tracking.enabled:
        raise TrackingError(
            f"--register {register}: tracking is off. Take tracking.enabled: false out of the "
            "config, or register later by `mmts register CHECKPOINT NAME`."
        )
    require_names(register, alias)


def register_trained(
    result: TrainingResult, name: str, alias: str | None, tracking: TrackingConfig
) -> None:
    """Register what a training has kept; raises TrackingError that says how to do it later."""
    from mmts.errors import TrackingError
    from mmts.serving.registry import register_checkpoint
    from mmts.tracking.store import locate_store

    runs = result.checkpoint.parent.parent
    store = locate_store(tracking.uri, runs)
    try:
        made = register_checkpoint(result.checkpoint, name, store, alias, result.run_id)
    except TrackingError as error:
        again = f" --alias {alias}" if alias else ""
        raise TrackingError(
            f"the model is trained and kept, but not registered. {error}\n"
            f"  Once that is mended: mmts register {result.checkpoint} {name}{again}"
        ) from None
    show(made, runs, tracking.uri)


def adopt_run(experiment: ExperimentConfig) -> tuple[ExperimentConfig, str | None]:
    """Record in the run that `mlflow run` has begun, unless the config names a store itself.

    Returns the config, which then names the store of that run, and the id of the run.
    """
    # How MLflow tells the commands of an MLproject; there is no other way.
    run_id, uri = os.environ.get("MLFLOW_RUN_ID"), os.environ.get("MLFLOW_TRACKING_URI")
    tracking = experiment.tracking
    if not run_id or not uri or not tracking.enabled or tracking.uri is not None:
        return experiment, None
    named = type(tracking).model_validate({**tracking.model_dump(), "uri": uri})
    return experiment.model_copy(update={"tracking": named}), run_id


if __name__ == "__main__":
    run(train)
