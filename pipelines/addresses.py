"""A checkpoint as commands are given it: a file, or an address in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmts.forecasting import Forecaster
    from mmts.tracking.store import TrackingStore

CheckpointArgument = Annotated[
    Path,
    typer.Argument(
        help="best.mmts or last.mmts of a training, or one in MLflow: models:/NAME@ALIAS, "
        "models:/NAME/VERSION, runs:/RUN_ID/best.mmts."
    ),
]
RunsOption = Annotated[
    Path, typer.Option(help="Folder of the runs, in whose MLflow store an address is looked up.")
]
UriOption = Annotated[
    str | None,
    typer.Option(help="Other MLflow store to look an address up in: sqlite:///other.db."),
]


def load_forecaster(
    checkpoint: Path, runs: Path, uri: str | None, calibrated: bool = True
) -> Forecaster:
    """Read the checkpoint in a file or at an address; a file never brings MLflow in."""
    if not _is_address(checkpoint):
        from mmts.forecasting import Forecaster

        return Forecaster.from_checkpoint(checkpoint, calibrated)
    from mmts.serving.addresses import load_forecaster

    return load_forecaster(checkpoint.as_posix(), _store(runs, uri), calibrated)


def find_file(checkpoint: Path, runs: Path, uri: str | None) -> Path:
    """Return the file of a checkpoint; one at an address is brought into a folder below `runs`.

    So whatever a command writes beside a checkpoint, or adds to its run, has its usual place.
    """
    if not _is_address(checkpoint):
        return checkpoint
    from mmts.serving.addresses import bring_checkpoint

    return bring_checkpoint(checkpoint.as_posix(), _store(runs, uri), runs)


def _is_address(checkpoint: Path) -> bool:
    return checkpoint.as_posix().startswith(("models:", "runs:"))


def _store(runs: Path, uri: str | None) -> TrackingStore:
    from mmts.tracking.store import locate_store

    return locate_store(uri, runs)
