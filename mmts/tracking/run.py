"""One run in MLflow: what a training or an evaluation records, whether MLflow answers or not."""

from __future__ import annotations

import json
import posixpath
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmts.tracking.config import TrackingConfig
from mmts.tracking.note import set_section
from mmts.tracking.outbox import Outbox
from mmts.tracking.store import TrackingStore, locate_store
from mmts.tracking.surroundings import mlflow_settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

Status = Literal["FINISHED", "FAILED", "KILLED"]

# What MLflow servers of the last years take; newer ones take longer params and tags.
_LONGEST_NAME = 250
_LONGEST_PARAM = 500
_LONGEST_TAG = 5000
_LONGEST_DATASET_NAME = 500
_LONGEST_DIGEST = 36
# So that the UI shows the pages for models and not those for language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_NOTE = "mlflow.note.content"
_REFUSED_IN_NAMES = re.compile(r"[^/\w.\- ]")


class TrackedRun:
    """A run that can be recorded to at any time; without an outbox it records nothing.

    No method raises for what happens at the store, and none waits for it but `finish`.
    """

    def __init__(self, outbox: Outbox | None, sets_status: bool = True) -> None:
        self._outbox = outbox
        self._sets_status = sets_status

    @property
    def run_id(self) -> str | None:
        """None when tracking is off, or as long as the store has not answered."""
        return self._outbox.run_id if self._outbox else None

    @property
    def is_tracked(self) -> bool:
        """Whether there is a place for what is recorded."""
        return self._outbox is not None

    def log_params(self, params: Mapping[str, str | int | float | bool | None]) -> None:
        """Record settings, as JSON writes them; a long one is cut."""
        if self._outbox:
            from mlflow.entities import Param

            self._outbox.put(
                [Param(_name(key), _cut(_word(params[key]), _LONGEST_PARAM)) for key in params]
            )

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers; MLflow keeps NaN, and infinity as the largest float."""
        if self._outbox:
            from mlflow.entities import Metric

            now = time.time_ns() // 1_000_000
            self._outbox.put(
                [Metric(_name(key), float(metrics[key]), now, int(step)) for key in metrics]
            )

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record words to find the run by; a long one is cut."""
        if self._outbox:
            from mlflow.entities import RunTag

            self._outbox.put([RunTag(key, value) for key, value in _clean_tags(tags).items()])

    def find_tags(self, find: Callable[[], Mapping[str, str]]) -> None:
        """Record words that take time to find, such as those of another program.

        find: called in the background; what it raises costs no more than these words.
        """

        def send(client: MlflowClient, run_id: str) -> None:
            for key, value in _clean_tags(find()).items():
                client.set_tag(run_id, key, value)

        self._put_file(send)

    def set_section(self, heading: str, body: str) -> None:
        """Write a section of the run's description, and leave the others as they are."""

        def send(client: MlflowClient, run_id: str) -> None:
            note = client.get_run(run_id).data.tags.get(_NOTE, "")
            client.set_tag(run_id, _NOTE, _cut(set_section(note, heading, body), _LONGEST_TAG))

        self._put_file(send)

    def log_text(self, text: str, artifact_file: str) -> None:
        """Keep a text as a file of the run."""
        self._put_bytes(text.encode, artifact_file)

    def make_file(self, make: Callable[[], bytes], artifact_file: str) -> None:
        """Keep what takes time to make, such as a picture, as a file of the run.

        make: called in the background; what it raises costs no more than this file.
        """
        self._put_bytes(make, artifact_file)

    def log_file(self, path: Path, artifact_folder: str | None = None) -> None:
        """Keep a copy of a file; it is read in the background, at the latest in `finish`."""
        self._put_file(
            lambda client, run_id: client.log_artifact(run_id, str(path), artifact_folder)
        )

    def log_dataset(
        self,
        name: str,
        source: str,
        digest: str,
        context: str,
        profile: Mapping[str, object],
        columns: Mapping[str, str] | None = None,
    ) -> None:
        """Record which data went in, without a copy of them.

        source: where the data lie. context: what they were for, such as `training`.
        profile: flat, as the UI shows it line by line. columns: MLflow's type of each, such as
        `double`, `string` or `boolean`.
        """
        described = json.dumps(dict(profile), default=str)
        schema = None
        if columns is not None:
            fields = [{"name": x, "type": columns[x], "required": False} for x in columns]
            schema = json.dumps({"mlflow_colspec": fields})

        def send(client: MlflowClient, run_id: str) -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            dataset = Dataset(
                name=_cut(name, _LONGEST_DATASET_NAME),
                digest=digest[:_LONGEST_DIGEST],
                source_type="local",
                source=json.dumps({"uri": source}),
                schema=schema,
                profile=described,
            )
            tags = [InputTag("mlflow.data.context", context)]
            client.log_inputs(run_id, [DatasetInput(dataset, tags)])

        self._put_file(send)

    def finish(self, status: Status) -> None:
        """Wait, for a bounded time, until all is recorded, and set how the run ended."""
        if self._outbox:
            self._outbox.close(_ending(status) if self._sets_status else None)

    def _put_bytes(self, make: Callable[[], bytes], artifact_file: str) -> None:
        folder, name = posixpath.split(artifact_file)

        def send(client: MlflowClient, run_id: str) -> None:
            with tempfile.TemporaryDirectory() as temporary:
                file = Path(temporary) / name
                file.write_bytes(make())
                client.log_artifact(run_id, str(file), folder or None)

        self._put_file(send)

    def _put_file(self, send: Callable[[MlflowClient, str], None]) -> None:
        if self._outbox:
            self._outbox.put_file(send)


def start_run(
    config: TrackingConfig,
    *,
    experiment: str,
    run_name: str,
    store: Path,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
) -> TrackedRun:
    """Begin a run; returns within seconds, whether MLflow answers or not.

    experiment: used where the config names none. store: the folder of runs, where a SQLite store
    is made unless the config names another. run_id: a run to continue, as after a kill; where the
    store does not know it, a new one begins.
    """
    if not config.enabled:
        return TrackedRun(None)
    place = locate_store(config.uri, store)
    words = _clean_tags({**config.tags, **(tags or {})})
    if description:
        words[_NOTE] = _cut(description, _LONGEST_TAG)

    def open_run(client: MlflowClient) -> str:
        if run_id is not None and _is_known(client, run_id):
            client.update_run(run_id, status="RUNNING")
            for key, value in words.items():
                client.set_tag(run_id, key, value)
            return run_id
        folder = find_experiment(client, config.experiment or experiment, place)
        return str(client.create_run(folder, tags=words, run_name=run_name).info.run_id)

    return TrackedRun(_open(place, open_run, "training goes on"))


def reopen_run(config: TrackingConfig, run_id: str | None, *, store: Path) -> TrackedRun:
    """Open an earlier run to add to it; how it ended stays as it is.

    run_id: from the run's checkpoint; without one nothing is recorded.
    """
    place = locate_store(config.uri, store)
    if not config.enabled or run_id is None or (place.database and not place.database.exists()):
        return TrackedRun(None)

    def open_run(client: MlflowClient) -> str:
        return str(client.get_run(run_id).info.run_id)

    return TrackedRun(_open(place, open_run, "the command goes on"), sets_status=False)


def _open(
    place: TrackingStore, open_run: Callable[[MlflowClient], str], what_goes_on: str
) -> Outbox:
    with mlflow_settings():
        # For its side effect, and here, as in the thread its seconds would count as the store's.
        import mlflow.tracking  # noqa: F401
    outbox = Outbox(place, open_run, what_goes_on)
    try:
        outbox.open()
    except BaseException:
        # Ctrl-C: no run shall seem to go on that never began.
        outbox.close(_ending("KILLED"))
        raise
    return outbox


def _ending(status: Status) -> Callable[[MlflowClient, str], None]:
    ended = time.time_ns() // 1_000_000
    return lambda client, run_id: client.set_terminated(run_id, status, ended)


def find_experiment(client: MlflowClient, name: str, place: TrackingStore) -> str:
    """Return the id of an experiment, which is made where there is none of that name."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, place.artifact_location, _KIND))
        except MlflowException:
            # Another training may have made it just now.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _is_known(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False
        raise


def _clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_name(key): _cut(value, _LONGEST_TAG) for key, value in tags.items()}


def _name(key: str) -> str:
    """Return a name as MLflow takes it: a relative path of plain characters."""
    parts = _REFUSED_IN_NAMES.sub("_", key).split("/")
    plain = "/".join(part.replace("..", "__") for part in parts if part not in ("", "."))
    return (plain if len(plain) <= _LONGEST_NAME else plain[: _LONGEST_NAME - 3] + "...") or "_"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _word(value: str | int | float | bool | None) -> str:
    return value if isinstance(value, str) else json.dumps(value)
