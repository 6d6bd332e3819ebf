"""One run in MLflow: what a training or an evaluation records, whether MLflow answers or not."""

from __future__ import annotations

import json
import logging
import math
import posixpath
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from mmts.tracking.config import TrackingConfig
from mmts.tracking.delivery import LONGEST_NOTE, NOTE, Delivery, cut
from mmts.tracking.errands import Errands
from mmts.tracking.journal import Journal, Record, journal_of, place_of
from mmts.tracking.outbox import Outbox
from mmts.tracking.place import find_trusted_store
from mmts.tracking.secrets import hide_secrets
from mmts.tracking.store import locate_store
from mmts.tracking.surroundings import mlflow_settings

logger = logging.getLogger(__name__)

T = TypeVar("T")
Status = Literal["FINISHED", "FAILED", "KILLED"]

# What MLflow servers of the last years take; newer ones take longer params and tags.
_LONGEST_NAME = 250
_LONGEST_PARAM = 500
_LONGEST_TAG = 5000
_LONGEST_DATASET_NAME = 500
_LONGEST_DIGEST = 36
_MOST_AT_ONCE = 100
_REFUSED_IN_NAMES = re.compile(r"[^/\w.\- ]")
_ERRANDS_WAIT = 30.0
_ALIKE = 1e-5
"""Relative difference of what is measured twice, in float32 and with another order of sums."""


class TrackedRun:
    """A run that can be recorded to at any time; without a journal it records nothing.

    Whatever is recorded is kept in the journal, in the folder of the run, and goes from there to
    MLflow. No method raises for what happens at the store, and none waits for it but `finish`.
    """

    def __init__(
        self, journal: Journal | None, outbox: Outbox | None = None, sets_status: bool = True
    ) -> None:
        self._journal = journal
        self._outbox = outbox
        self._sets_status = sets_status
        self._errands = Errands()
        self._has_ended = False
        # A number that was recorded before, as by a training that goes on, is recorded once.
        self._former = {} if journal is None else dict(_metrics_in(journal))

    @property
    def run_id(self) -> str | None:
        """None when tracking is off, or as long as the store has not answered."""
        return self._outbox.run_id if self._outbox else None

    @property
    def is_tracked(self) -> bool:
        """Whether there is a place for what is recorded."""
        return self._journal is not None

    def open(self) -> None:
        """Wait a short while for MLflow to answer for the first time."""
        if self._outbox:
            self._outbox.open()

    def log_params(self, params: Mapping[str, str | int | float | bool | None]) -> None:
        """Record settings, as JSON writes them; a long one is cut."""
        words = {
            _name(key): cut(hide_secrets(_word(params[key])), _LONGEST_PARAM) for key in params
        }
        for some in _in_parts(words):
            self._append({"record": "params", "values": some})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers; MLflow keeps NaN, and infinity as the largest float.

        A number of the same name and step that was recorded before this run was opened stays as it
        is, but where an evaluation has found another one.
        """
        now = time.time_ns() // 1_000_000
        values = {_name(key): float(metrics[key]) for key in metrics}
        new = {
            key: _plain(value) for key, value in values.items() if self._is_new(key, step, value)
        }
        for some in _in_parts(new):
            self._append({"record": "metrics", "time": now, "step": int(step), "values": some})

    def next_step(self, key: str) -> int:
        """Return the step after the last one at which a metric was recorded before; 0 if never."""
        return max((step + 1 for name, step in self._former if name == key), default=0)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record words to find the run by; a long one is cut."""
        for some in _in_parts(_clean_tags(tags)):
            self._append({"record": "tags", "values": some})

    def find_tags(self, find: Callable[[], Mapping[str, str]]) -> None:
        """Record words that take time to find, such as those of another program.

        find: called in the background; what it raises costs no more than these words.
        """
        self._put_errand(
            lambda journal: journal.append({"record": "tags", "values": _clean_tags(find())})
        )

    def set_section(self, heading: str, body: str) -> None:
        """Write a section of the run's description, and leave the others as they are."""
        self._append({"record": "section", "heading": heading, "body": hide_secrets(body)})

    def log_text(self, text: str, artifact_file: str) -> None:
        """Keep a text as a file of the run."""
        self.make_file(text.encode, artifact_file)

    def make_file(self, make: Callable[[], bytes], artifact_file: str) -> None:
        """Keep what takes time to make, such as a picture, as a file of the run.

        make: called in the background; what it raises costs no more than this file.
        """

        def keep(journal: Journal) -> None:
            _append_file(journal, journal.keep(make(), artifact_file), artifact_file)

        self._put_errand(keep)

    def log_file(self, path: Path, artifact_folder: str | None = None) -> None:
        """Keep a file: one in the run's own folder where it lies, any other as a copy."""
        if self._journal is None:
            return
        name = posixpath.join(artifact_folder or "", path.name)
        if self._journal.address(path) is None:
            self._put_errand(lambda journal: _append_file(journal, journal.copy(path, name), name))
        elif not self._has_ended:
            _append_file(self._journal, path, name)
            self._notify()

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
        schema = None
        if columns is not None:
            fields = [{"name": x, "type": columns[x], "required": False} for x in columns]
            schema = json.dumps({"mlflow_colspec": fields})
        self._append(
            {
                "record": "dataset",
                "name": cut(name, _LONGEST_DATASET_NAME),
                "digest": digest[:_LONGEST_DIGEST],
                "source": hide_secrets(source),
                "context": context,
                "profile": json.dumps(dict(profile), default=str),
                "schema": schema,
            }
        )

    def finish(self, status: Status) -> None:
        """Set how the run ended, and wait for a bounded time until all is in MLflow.

        Ctrl-C ends the wait; what is missing stays in the journal.
        """
        if self._journal is None or self._has_ended:
            return
        if self._sets_status:
            ended = time.time_ns() // 1_000_000
            self._append({"record": "status", "status": status, "time": ended})
        self._has_ended = True
        try:
            self._errands.finish(_ERRANDS_WAIT)
            self._journal.sync()
            if self._outbox:
                self._outbox.close()
        finally:
            if self._outbox:
                self._outbox.leave()

    def _append(self, record: Record) -> None:
        if self._journal is not None and not self._has_ended:
            self._journal.append(record)
            self._notify()

    def _put_errand(self, errand: Callable[[Journal], None]) -> None:
        journal = self._journal
        if journal is None or self._has_ended:
            return

        def do() -> None:
            errand(journal)
            self._notify()

        self._errands.put(do)

    def _notify(self) -> None:
        if self._outbox:
            self._outbox.notify()

    def _is_new(self, key: str, step: int, value: float) -> bool:
        former = self._former.get((key, int(step)))
        if former is None:
            return True
        is_same = math.isclose(former, value, rel_tol=_ALIKE) or value != value != former
        # Of a training that goes on, such as how quick it was: the first number counts.
        return not (self._sets_status or is_same)


def start_run(
    config: TrackingConfig,
    *,
    experiment: str,
    run_name: str,
    folder: Path,
    store: Path,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
) -> TrackedRun:
    """Begin a run; returns within seconds, whether MLflow answers or not.

    experiment: used where the config names none. folder: the run's own; where it holds the journal
    of a run, that run goes on. store: the folder of runs, where a SQLite store is made unless the
    config names another. run_id: a run to continue, as one that `mlflow run` has begun; where the
    store does not know it, a new one begins.
    """
    if not config.enabled:
        return TrackedRun(None)
    words = _clean_tags({**config.tags, **(tags or {})})
    if description:
        words[NOTE] = cut(hide_secrets(description), LONGEST_NOTE)
    journal = journal_of(folder)
    journal.begin()
    is_new = next(journal.read(), None) is None
    if is_new:
        journal.append(
            {
                "record": "run",
                "id": uuid.uuid4().hex,
                "experiment": config.experiment or experiment,
                "name": run_name,
                "tags": words,
                "time": time.time_ns() // 1_000_000,
                "continues": run_id,
                **place_of(config.uri, store, folder),
            }
        )
    else:
        place = place_of(config.uri, store, folder)
        journal.append({"record": "resumed", "tags": words, **place})
    delivery = Delivery(locate_store(config.uri, store), journal, is_new=is_new)
    return _open(TrackedRun(journal, Outbox(delivery, "training goes on")))


def reopen_run(
    config: TrackingConfig, run_id: str | None, *, folder: Path, store: Path
) -> TrackedRun:
    """Open an earlier run to add to it; how it ended stays as it is.

    run_id: from the run's checkpoint. folder: of that checkpoint; where neither it nor the
    checkpoint knows of a run, nothing is recorded. A store that a checkpoint alone names is not
    asked: that may be anybody's, and would be told the name and password that are for another.
    """
    journal = journal_of(folder, run_id)
    is_kept = journal.path.exists()
    if not config.enabled or (not is_kept and run_id is None):
        return TrackedRun(None)
    place = find_trusted_store(config, folder, store)
    if place is None:
        logger.warning(
            "%s is not told of this: the checkpoint names it, and %s holds no record of a training "
            "that was tracked there",
            locate_store(config.uri, store).shown, folder,
        )  # fmt: skip
        return TrackedRun(None)
    if not is_kept and place.database is not None and not place.database.exists():
        return TrackedRun(None)
    journal.begin()
    if not is_kept:
        journal.append(
            {"record": "run", "continues": run_id, **place_of(config.uri, store, folder)}
        )
    delivery = Delivery(place, journal, begins_anew=False)
    return _open(TrackedRun(journal, Outbox(delivery, "the command goes on"), sets_status=False))


def _open(run: TrackedRun) -> TrackedRun:
    with mlflow_settings():
        # For its side effect, and here, as in the thread its seconds would count as the store's.
        import mlflow.tracking  # noqa: F401
    try:
        run.open()
    except BaseException:
        # Ctrl-C: no run shall seem to go on that never began.
        run.finish("KILLED")
        raise
    return run


def _append_file(journal: Journal, path: Path, artifact_file: str) -> None:
    folder = posixpath.dirname(artifact_file) or None
    journal.append({"record": "file", "path": journal.address(path), "folder": folder})


def _metrics_in(journal: Journal) -> Iterator[tuple[tuple[str, int], float]]:
    for record, _ in journal.read():
        if record["record"] == "metrics":
            for key, value in record["values"].items():
                yield (key, record["step"]), float(value)


def _in_parts(values: Mapping[str, T]) -> Iterator[dict[str, T]]:
    """Yield them some at a time, as MLflow takes no more in one call."""
    items = list(values.items())
    for first in range(0, len(items), _MOST_AT_ONCE):
        yield dict(items[first : first + _MOST_AT_ONCE])


def _clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_name(key): cut(hide_secrets(value), _LONGEST_TAG) for key, value in tags.items()}


def _name(key: str) -> str:
    """Return a name as MLflow takes it: a relative path of plain characters."""
    parts = _REFUSED_IN_NAMES.sub("_", key).split("/")
    plain = "/".join(part.replace("..", "__") for part in parts if part not in ("", "."))
    return (plain if len(plain) <= _LONGEST_NAME else plain[: _LONGEST_NAME - 3] + "...") or "_"


def _word(value: str | int | float | bool | None) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: float) -> float | str:
    """Return a number as JSON has it: infinity and NaN as words."""
    return value if math.isfinite(value) else str(value)
