"""Checkpoints that lie in MLflow, under addresses such as models:/NAME@champion."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmts.errors import CheckpointError, TrackingError, nearest
from mmts.files import make_folder, write_whole
from mmts.forecasting import Forecaster
from mmts.run_folders.names import BEST
from mmts.serving.client import asking, is_there
from mmts.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_MODEL = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]{1,9}))?")
_RUN = re.compile(r"runs:/(?P<run>[0-9a-zA-Z_-]+)(?:/(?P<path>.+))?")
_FORMS = "Write it as models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/best.mmts."


@dataclass(frozen=True)
class Found:
    """A checkpoint in MLflow. name: of a folder of its own. file: where it lies here now."""

    name: str
    file: Path


def load_forecaster(address: str, store: TrackingStore, calibrated: bool = True) -> Forecaster:
    """Read the checkpoint at an address in MLflow.

    Raises TrackingError when the store does not answer or has nothing there, and CheckpointError
    when what it has is no checkpoint.
    """
    with _fetched(address, store) as found:
        try:
            return Forecaster.from_checkpoint(found.file, calibrated)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(found.file), address)) from None


def bring_checkpoint(address: str, store: TrackingStore, runs: Path) -> Path:
    """Copy the checkpoint at an address into a folder of its own below `runs`; returns the file.

    Raises TrackingError as `load_forecaster` does.
    """
    with _fetched(address, store) as found:
        content = found.file.read_bytes()
    target = runs / found.name / found.file.name
    if not target.is_file() or target.read_bytes() != content:
        make_folder(target.parent)
        write_whole(target, content)
    return target


@contextmanager
def _fetched(address: str, store: TrackingStore) -> Iterator[Found]:
    """Have the checkpoint at an address as a file, for as long as the block lasts."""
    of_model, of_run = _MODEL.fullmatch(address), _RUN.fullmatch(address)
    if of_model is None and of_run is None:
        raise TrackingError(f"{address}: is no address of a checkpoint in MLflow. {_FORMS}")
    if store.database is not None and not store.database.is_file():
        raise TrackingError(
            f"{address}: {store.shown} does not exist, so nothing is registered there. Name the "
            "folder of the runs with --runs, or another store with --uri."
        )
    with tempfile.TemporaryDirectory(prefix="mmts-") as folder:
        with asking(store) as client:
            if of_model is not None:
                found = _fetch_version(client, store, of_model, Path(folder))
            else:
                assert of_run is not None
                found = _fetch_of_run(client, store, of_run, Path(folder))
        yield found


def _fetch_version(
    client: MlflowClient, store: TrackingStore, address: re.Match[str], folder: Path
) -> Found:
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    name, version = address["name"], _version_of(client, store, address)
    # Not models:/NAME/VERSION: MLflow would look that up in its default store, not in this one.
    place = client.get_model_version_download_uri(name, version)
    fetched = Path(download_artifacts(place, dst_path=str(folder), tracking_uri=store.uri))
    file = None
    if (fetched / "MLmodel").is_file():
        described = Model.load(str(fetched)).flavors.get("python_function", {})
        file = described.get("artifacts", {}).get("checkpoint", {}).get("path")
    if not isinstance(file, str) or not (fetched / file).is_file():
        raise TrackingError(
            f"{address[0]}: version {version} of {name!r} holds no checkpoint of mmts. Name "
            "a model that `mmts train --register` or `mmts register` has registered."
        )
    return Found(f"{name}-v{version}", fetched / file)


def _fetch_of_run(
    client: MlflowClient, store: TrackingStore, address: re.Match[str], folder: Path
) -> Found:
    run_id, path = address["run"], address["path"] or BEST
    if not is_there(lambda: client.get_run(run_id)):
        raise TrackingError(f"{address[0]}: {store.shown} has no run {run_id!r}. {_FORMS}")
    parent = path.rpartition("/")[0] or None
    files = [file.path for file in client.list_artifacts(run_id, parent) if not file.is_dir]
    if path not in files:
        checkpoints = [file for file in files if file.endswith(".mmts")]
        there = f" It has {', '.join(checkpoints)}." if checkpoints else ""
        raise TrackingError(f"{address[0]}: run {run_id} keeps no {path}.{there}")
    return Found(run_id, Path(client.download_artifacts(run_id, path, str(folder))))


def _version_of(client: MlflowClient, store: TrackingStore, address: re.Match[str]) -> str:
    """Return the number of the version that is meant; raises TrackingError with what there is."""
    name, alias, version = address["name"], address["alias"], address["version"]
    if not is_there(lambda: client.get_registered_model(name)):
        names = [model.name for model in client.search_registered_models(max_results=200)]
        there = f"; there are {', '.join(names[:12])}." if names else "; it has none yet."
        raise TrackingError(
            f"{address[0]}: {store.shown} has no registered model {name!r}"
            f"{nearest(name, names, there)}"
        )
    aliases = client.get_registered_model(name).aliases
    if alias is not None and alias in aliases:
        return str(aliases[alias])
    if version is not None and is_there(lambda: client.get_model_version(name, str(int(version)))):
        return str(int(version))
    versions = client.search_model_versions(f"name = '{name}'", max_results=200)
    numbers = sorted((int(found.version) for found in versions), reverse=True)
    said = "name a version or an alias of it"
    if alias is not None:
        said = f"it has no alias {alias!r}"
    elif version is not None:
        said = f"it has no version {version}"
    listed = ", ".join(map(str, numbers[:12])) or "none"
    named = ", ".join(f"{key} (version {aliases[key]})" for key in sorted(aliases)) or "none"
    raise TrackingError(f"{address[0]}: {said}. Versions: {listed}. Aliases: {named}.")
