"""Registering a checkpoint as a model of MLflow."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmts.checkpoint import CheckpointInfo
from mmts.errors import TrackingError, raise_all
from mmts.forecasting import Forecaster
from mmts.serving.client import asking, is_there
from mmts.tracking.delivery import find_experiment
from mmts.tracking.journal import find_run_id
from mmts.tracking.store import TrackingStore, create_database

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_ALIAS = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_RESERVED = re.compile(r"latest|v[0-9]+", re.IGNORECASE)
_TYPE = "forecaster"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registered:
    """A version of a registered model. address: under which commands find it."""

    name: str
    version: str
    alias: str | None

    @property
    def address(self) -> str:
        return f"models:/{self.name}{f'@{self.alias}' if self.alias else f'/{self.version}'}"


def require_names(name: str, alias: str | None) -> None:
    """Make sure that MLflow will take a name and an alias; raises TrackingError with each fault."""
    raise_all(TrackingError, _faults_of_names(name, alias))


def _faults_of_names(name: str, alias: str | None) -> Iterator[str]:
    if not re.fullmatch(r"[^/:@%\s'\"]+", name) or name in (".", ".."):
        yield (
            f"{name!r} cannot name a registered model. Use letters, digits, and marks such as - "
            "and _, without a blank."
        )
    if alias is not None and not _ALIAS.fullmatch(alias):
        yield f"{alias!r} cannot be an alias. Use letters, digits, '_', '-' and '.'."
    elif alias is not None and _RESERVED.fullmatch(alias):
        yield f"{alias!r} cannot be an alias: MLflow keeps it for itself. Take another word."


def register_checkpoint(
    checkpoint: Path,
    name: str,
    store: TrackingStore,
    alias: str | None = None,
    run_id: str | None = None,
) -> Registered:
    """Register a checkpoint as a new version of a model, made where there is none of that name.

    alias: set to this version, and taken away from any other. run_id: of the training, where the
    checkpoint does not tell.
    Raises CheckpointError when the file is no checkpoint, and TrackingError for a name that MLflow
    does not take, or when it does not answer; there is no new version then, unless the error says
    that it lacks its alias alone.
    """
    require_names(name, alias)
    forecaster = Forecaster.from_checkpoint(checkpoint)
    info = forecaster.info
    with asking(store) as client, tempfile.TemporaryDirectory(prefix="mmts-") as temporary:
        # Heavy, as it imports MLflow.
        from mmts.serving.package import save_package

        create_database(store)
        run = _run_of(client, store, find_run_id(checkpoint.parent, info.run_id) or run_id)
        folder = Path(temporary) / "model"
        described = save_package(folder, checkpoint, forecaster)
        logged = client.create_logged_model(
            _experiment_of(client, store, info, run),
            name=name,
            source_run_id=None if run is None else run.info.run_id,
            params=None if run is None else run.data.params,
            model_type=_TYPE,
        )
        ready = False
        try:
            described.model_id = described.model_uuid = logged.model_id
            described.run_id = logged.source_run_id
            described.artifact_path = logged.artifact_location
            described.save(str(folder / "MLmodel"))
            client.log_model_artifacts(logged.model_id, str(folder))
            ready = True
        finally:
            client.finalize_logged_model(logged.model_id, "READY" if ready else "FAILED")
        if run is not None:
            _link(client, run, logged.model_id, info.epoch)
        if not is_there(lambda: client.get_registered_model(name)):
            client.create_registered_model(name)
        made = client.create_model_version(
            name,
            # Not models:/ID: MLflow would look that up in its default store, and not in this one,
            # as it does an ID where there is no run.
            source=logged.artifact_location,
            run_id=logged.source_run_id,
            description=describe(info),
            model_id=logged.model_id if run is not None or store.is_server else None,
        )
        if alias is not None:
            _set_alias(client, store, name, alias, str(made.version))
    return Registered(name, str(made.version), alias)


def describe(info: CheckpointInfo) -> str:
    """Return what a version is, in Markdown: what it forecasts, and which columns it reads."""
    schema = info.data_schema
    lines = [
        f"Forecasts **{', '.join(schema.target_columns)}**, {schema.horizon} steps ahead. Epoch "
        f"{info.epoch}, validation loss {info.validation_loss:.4g}.",
        "",
        "| stream | columns |",
        "|---|---|",
    ]
    for name, stream in schema.streams.items():
        if stream.calendar is None:
            keys = [key for key in (stream.time, stream.item, stream.available_at) if key]
            typed = [
                column.name if column.type == "number" else f"{column.name} ({column.type})"
                for column in stream.columns
            ]
            lines.append(f"| {name} | {', '.join([*keys, *typed])} |")
    return "\n".join(lines)


def _run_of(client: MlflowClient, store: TrackingStore, run_id: str | None) -> Run | None:
    """Return the run of the training, where the store has it."""
    if run_id is None:
        return None
    if not is_there(lambda: client.get_run(run_id)):
        logger.warning("%s has no run %s: the model is registered without one", store.shown, run_id)
        return None
    return client.get_run(run_id)


def _experiment_of(
    client: MlflowClient, store: TrackingStore, info: CheckpointInfo, run: Run | None
) -> str:
    if run is not None:
        return str(run.info.experiment_id)
    return find_experiment(client, info.config.tracking.experiment or info.config.name, store)


def _set_alias(
    client: MlflowClient, store: TrackingStore, name: str, alias: str, version: str
) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        raise TrackingError(
            f"MLflow at {store.shown}: version {version} of {name} is registered, but without its "
            f"alias {alias!r}: {store.explain(error)}. Set it in MLflow, or register again."
        ) from None


def _link(client: MlflowClient, run: Run, model_id: str, epoch: int) -> None:
    """Show the model on the page of its run."""
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=epoch)])
