"""Bringing the journal of a run to MLflow, so that to do it twice does no harm."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mmts.tracking.journal import Journal, Record
from mmts.tracking.note import set_section
from mmts.tracking.store import TrackingStore, create_database

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    Value = Metric | Param | RunTag

JOURNAL_TAG = "mmts.journal"
"""By which a run is found again whose creation was not answered."""

ERROR_TAG = "error"
"""Says why a run failed; a run that goes on has it no longer."""

NOTE = "mlflow.note.content"
LONGEST_NOTE = 5000

# So that the UI shows the pages for models and not those for language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_VALUES = ("params", "metrics", "tags")
# MLflow's own limits of one call.
_MOST_METRICS, _MOST_OTHERS = 1000, 100
_WAIT_FOR_CREATION = 2.0
_REFUSED = {
    "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "MALFORMED_REQUEST",
    "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST",
}  # fmt: skip
_NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}

logger = logging.getLogger(__name__)


class RunGoneError(Exception):
    """The store does not have the run any more, and was not to begin it anew."""


class Delivery:
    """Brings records to the store in order, values ahead of files, from where it was left.

    Whatever the store does is raised, and the next call goes on from there. What it refuses for
    good is left out, and told of in `left_out`.
    """

    def __init__(
        self,
        store: TrackingStore,
        journal: Journal,
        begins_anew: bool = True,
        is_new: bool = False,
    ) -> None:
        """Take both.

        begins_anew: whether a run that the store has lost is sent as a new one. is_new: whether
        nobody can have asked for the run before.
        """
        self.store = store
        self.journal = journal
        self.begins_anew = begins_anew
        self.left_out: list[str] = []
        self.num_values = 0
        self.num_files = 0
        self._delivered = journal.delivered
        self._client: MlflowClient | None = None
        self._may_exist = not is_new
        self._has_asked = False

    @property
    def run_id(self) -> str | None:
        """None until MLflow has made the run."""
        return self._delivered.run_id

    @property
    def has_opened(self) -> bool:
        """Whether the store has answered, and has the run."""
        return self._client is not None

    def open(self) -> None:
        """Find the run in the store, or begin it; raises RunGoneError."""
        from mlflow.tracking import MlflowClient

        # As it is now: another process may have brought it further.
        self._delivered = self.journal.delivered
        create_database(self.store)
        client = MlflowClient(tracking_uri=self.store.uri, registry_uri=self.store.uri)
        begin = next((record for record, _ in self.journal.read()), {})
        run_id = self.run_id or begin.get("continues")
        if run_id is None:
            self._remember(self._begin(client, begin))
        elif _is_there(client, run_id):
            self._remember(run_id)
            if begin.get("continues") and "tags" in begin and not self._delivered.values:
                _resume(client, run_id, begin["tags"])
        elif self.begins_anew and "experiment" in begin:
            former = tuple(dict.fromkeys((*self._delivered.former, run_id)))
            self._delivered = replace(self._delivered, former=former, values=0, files=0)
            self._remember(self._begin(client, begin))
        else:
            raise RunGoneError(f"it has no run {run_id}")
        self._client = client

    def send_values(self) -> bool:
        """Send what one call takes; returns whether there was anything."""
        batch, other, offset = self._next_values()
        if offset == self._delivered.values:
            return False
        if batch:
            self._log(batch)
            self.num_values += len(batch)
        elif other is not None:
            self._send(other)
        self._delivered = replace(self._delivered, values=offset)
        self.journal.note(self._delivered)
        return True

    def send_file(self) -> bool:
        """Send one file; returns whether there was any."""
        for record, offset in self.journal.read(self._delivered.files):
            if record["record"] == "file":
                self._send_file(record)
            self._delivered = replace(self._delivered, files=offset)
            if record["record"] == "file":
                self.num_files += 1
                self.journal.note(self._delivered)
                return True
        return False

    def _begin(self, client: MlflowClient, begin: Record) -> str:
        experiment = find_experiment(client, begin["experiment"], self.store)
        tags = {**begin["tags"], JOURNAL_TAG: begin["id"]}
        if self._has_asked:
            # A server that hung, and goes on, may be at it just now.
            time.sleep(_WAIT_FOR_CREATION)
        if self._may_exist:
            found = client.search_runs(
                [experiment], f"tags.`{JOURNAL_TAG}` = '{begin['id']}'", max_results=1
            )
            if found:
                return str(found[0].info.run_id)
        self._may_exist = self._has_asked = True
        return str(client.create_run(experiment, begin["time"], tags, begin["name"]).info.run_id)

    @property
    def _target(self) -> tuple[MlflowClient, str]:
        assert self._client is not None
        assert self.run_id is not None
        return self._client, self.run_id

    def _remember(self, run_id: str) -> None:
        if run_id != self._delivered.run_id:
            self._delivered = replace(self._delivered, run_id=run_id)
            self.journal.note(self._delivered)

    def _next_values(self) -> tuple[list[Value], Record | None, int]:
        """Return what goes in one call, or one record that takes a call of its own, and its end."""
        batch: list[Value] = []
        num_others = 0
        end = self._delivered.values
        for record, offset in self.journal.read(end):
            kind = record["record"]
            if kind == "file":
                end = offset
                continue
            if kind not in _VALUES:
                return (batch, None, end) if batch else ([], record, offset)
            values = list(_entities(record))
            num_others += len(values) if kind != "metrics" else 0
            if batch and (len(batch) + len(values) > _MOST_METRICS or num_others > _MOST_OTHERS):
                break
            batch += values
            end = offset
        return batch, None, end

    def _log(self, values: list[Value]) -> None:
        """Send values; where the store refuses some, find them by halves and leave them out."""
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException

        client, run_id = self._target
        try:
            client.log_batch(
                run_id,
                metrics=[value for value in values if isinstance(value, Metric)],
                params=[value for value in values if isinstance(value, Param)],
                tags=[value for value in values if isinstance(value, RunTag)],
            )
        except MlflowException as error:
            self._require_refusal(error)
            if len(values) == 1:
                self.left_out.append(self.store.explain(error))
            else:
                half = len(values) // 2
                self._log(values[:half])
                self._log(values[half:])

    def _send(self, record: Record) -> None:
        """Send a record that takes a call of its own."""
        from mlflow.exceptions import MlflowException

        try:
            self._call(record)
        except MlflowException as error:
            self._require_refusal(error)
            self.left_out.append(self.store.explain(error))

    def _call(self, record: Record) -> None:
        client, run_id = self._target
        kind = record["record"]
        if kind == "section":
            note = client.get_run(run_id).data.tags.get(NOTE, "")
            note = set_section(note, record["heading"], record["body"])
            client.set_tag(run_id, NOTE, cut(note, LONGEST_NOTE))
        elif kind == "dataset":
            self._log_dataset(record)
        elif kind == "status":
            client.set_terminated(run_id, record["status"], record["time"])
        elif kind == "resumed":
            _resume(client, run_id, record["tags"])

    def _log_dataset(self, record: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        client, run_id = self._target
        dataset = Dataset(
            name=record["name"],
            digest=record["digest"],
            source_type="local",
            source=json.dumps({"uri": record["source"]}),
            schema=record["schema"],
            profile=record["profile"],
        )
        tags = [InputTag("mlflow.data.context", record["context"])]
        client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def _send_file(self, record: Record) -> None:
        from mlflow.exceptions import MlflowException

        client, run_id = self._target
        path = self.journal.find(record["path"])
        if path is None or not path.is_file():
            where = "lies outside of the run's folder" if path is None else "is not there any more"
            self.left_out.append(f"{record['path']} {where}")
            return
        try:
            client.log_artifact(run_id, str(path), record["folder"])
        except MlflowException as error:
            self._require_refusal(error)
            self.left_out.append(self.store.explain(error))

    def _require_refusal(self, error: MlflowException) -> None:
        """Raise an error again unless the store refuses what it was given, and that for good."""
        client, run_id = self._target
        # A database calls so what it could not digest; a server, whatever has gone wrong in it.
        digests = set() if self.store.is_server else {"INTERNAL_ERROR"}
        if error.error_code not in _REFUSED | digests:
            raise error
        # A store that cannot tell of the run, such as a damaged one, refuses nothing.
        if client.get_run(run_id).info.lifecycle_stage != "active":
            raise RunGoneError(f"its run {run_id} has been deleted there") from error


def find_experiment(client: MlflowClient, name: str, store: TrackingStore) -> str:
    """Return the id of an experiment, which is made where there is none of that name."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, store.artifact_location, _KIND))
        except MlflowException:
            # Another training may have made it just now.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def cut(text: str, longest: int) -> str:
    """Return a text that is no longer than that."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _entities(record: Record) -> Iterator[Value]:
    from mlflow.entities import Metric, Param, RunTag

    if record["record"] == "metrics":
        for key, value in record["values"].items():
            yield Metric(key, float(value), record["time"], record["step"])
        return
    make = Param if record["record"] == "params" else RunTag
    for key, value in record["values"].items():
        yield make(key, value)


def _resume(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Show a run as one that goes on."""
    client.update_run(run_id, status="RUNNING")
    if ERROR_TAG in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, ERROR_TAG)
    for key, value in tags.items():
        client.set_tag(run_id, key, value)


def _is_there(client: MlflowClient, run_id: str) -> bool:
    """Tell whether the store has a run; raises RunGoneError where it was deleted there."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in _NOT_THERE:
            return False
        raise
    if run.info.lifecycle_stage != "active":
        raise RunGoneError(f"its run {run_id} has been deleted there")
    return True
