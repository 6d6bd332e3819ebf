"""`mmts register`: make a checkpoint a version of a model in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import imports, run

if TYPE_CHECKING:
    from mmts.serving.registry import Registered
    from mmts.tracking.config import TrackingConfig
    from mmts.tracking.store import TrackingStore
    from mmts.training.assignment import TrainingResult

AliasOption = Annotated[
    str | None,
    typer.Option(help="Word that points to this version from now on, such as champion."),
]


def register(
    checkpoint: Annotated[Path, typer.Argument(help="best.mmts or last.mmts of a training.")],
    name: Annotated[str, typer.Argument(help="Name of the model; made where there is none yet.")],
    alias: AliasOption = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the runs, where the store is that of the folder; by default the one "
            "that holds the checkpoint's folder."
        ),
    ] = None,
    uri: Annotated[
        str | None,
        typer.Option(help="Other MLflow store; by default the one that the training used."),
    ] = None,
) -> None:
    """Register a checkpoint in MLflow, for `mmts forecast models:/NAME@ALIAS` and serving."""
    with imports():
        from mmts.checkpoint import read_info
        from mmts.serving.registry import register_checkpoint
        from mmts.tracking.store import locate_store

    tracking = read_info(checkpoint).config.tracking
    # As every command does that adds to the run of a training.
    folder = runs or checkpoint.resolve().parent.parent
    named = uri or tracking.uri
    if uri is not None or (runs is not None and tracking.uri is None):
        store = locate_store(uri, folder)
    else:
        store = _store_of_training(checkpoint, tracking, folder)
    if named is None and store.database is not None:
        folder = store.database.parent
    show(register_checkpoint(checkpoint, name, store, alias), folder, named)


def _store_of_training(checkpoint: Path, tracking: TrackingConfig, runs: Path) -> TrackingStore:
    """Return the store of the training; raises TrackingError where the checkpoint alone names it.

    It may come from anybody, and what it names would be told the password that is for another.
    """
    from mmts.errors import TrackingError
    from mmts.tracking.place import find_trusted_store
    from mmts.tracking.store import locate_store

    home = checkpoint.resolve().parent
    store = find_trusted_store(tracking, home, runs)
    if store is None:
        raise TrackingError(
            f"{checkpoint}: names the MLflow store {locate_store(tracking.uri, runs).shown}, and "
            f"{home} holds no record of a training that was tracked there. A checkpoint may come "
            "from anybody, and that store would be told your password or token. Name the store "
            "that you mean with --uri."
        )
    return store


def show(made: Registered, runs: Path, uri: str | None) -> None:
    """Say what was registered, and what can be done with it now."""
    print(f"registered: version {made.version} of {made.name}")
    where = f" --runs {runs}" if uri is None else f" --uri {uri}"
    if uri is None and runs == Path("runs"):
        where = ""
    print(f"next:       mmts forecast {made.address}{where} --output forecast.csv")


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
) -> Registered:
    """Register what a training has kept; raises TrackingError that says how to do it later."""
    from mmts.errors import TrackingError
    from mmts.serving.registry import register_checkpoint
    from mmts.tracking.store import locate_store

    store = locate_store(tracking.uri, result.folder.parent)
    try:
        return register_checkpoint(result.checkpoint, name, store, alias, result.run_id)
    except TrackingError as error:
        again = f" --alias {alias}" if alias else ""
        raise TrackingError(
            f"the model is trained and kept, but not registered. {error}\n"
            f"  Once that is mended: mmts register {result.checkpoint} {name}{again}"
        ) from None


if __name__ == "__main__":
    run(register)
