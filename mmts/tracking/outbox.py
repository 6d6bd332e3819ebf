"""What a run has recorded on its way to MLflow, sent from a background thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeVar

from mmts.tracking.store import TrackingStore, create_database
from mmts.tracking.surroundings import mlflow_settings, quiet_thread

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    Value = Metric | Param | RunTag
    Send = Callable[[MlflowClient, str], None]
    Item = TypeVar("Item")

logger = logging.getLogger(__name__)

Errand = Literal["open", "values", "close", "file"]

# The first creation of a SQLite store takes seconds, on a busy machine many.
_OPEN_WAIT_DATABASE = 60.0
_OPEN_WAIT = 5.0
_CLOSE_WAIT = 30.0
_CLOSE_WAIT_AWAY = 5.0
_GATHER = 1.0
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
_LARGEST_BATCH = 1000  # MLflow's own limit
_MOST_VALUES = 50_000
_MOST_FILES = 200
_MOST_ATTEMPTS = 3
_MOST_REFUSALS = 100
_AWAY = {"TEMPORARILY_UNAVAILABLE"}
_AWAY_SERVER = _AWAY | {"INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}


class Outbox:
    """Opens a run and brings everything given to it there, in the background.

    Giving takes microseconds and never raises, whatever the store does. While the store is away
    things wait here, and are tried again at growing intervals; what the store refuses is left
    out. Either is warned of once.

    run_id: None until the store has answered.
    """

    def __init__(
        self, store: TrackingStore, open_run: Callable[[MlflowClient], str], what_goes_on: str
    ) -> None:
        self.run_id: str | None = None
        self._store = store
        self._open_run = open_run
        self._what_goes_on = what_goes_on
        self._client: MlflowClient | None = None
        self._values: deque[Value] = deque()
        self._files: deque[tuple[Send, int]] = deque()
        self._last: Send | None = None
        self._closed = False
        self._settled = False
        self._away = False
        self._warned: set[str] = set()
        self._batch_length = _LARGEST_BATCH
        self._pause = _FIRST_PAUSE
        self._num_refused = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="mmts-tracking", daemon=True)

    def open(self) -> None:
        """Start, and wait a short while for the store to answer for the first time."""
        self._thread.start()
        limit = _OPEN_WAIT_DATABASE if self._store.database else _OPEN_WAIT
        with self._changed:
            self._changed.wait_for(lambda: self._settled, limit)
            if not self._settled:
                self._note_away(f"no answer within {limit:g} s")

    def put(self, values: Sequence[Value]) -> None:
        """Take metrics, params and tags."""
        self._take(self._values, values, _MOST_VALUES)

    def put_file(self, send: Send) -> None:
        """Take what needs a call of its own; it follows when all values have been sent."""
        self._take(self._files, [(send, 1)], _MOST_FILES)

    def close(self, last: Send | None) -> None:
        """Take nothing more, and wait a bounded time until all is sent.

        last: sent after the values and before the files, of which one may be slow.
        """
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._last = last
            self._changed.notify_all()
        self._thread.join(_CLOSE_WAIT_AWAY if self._away else _CLOSE_WAIT)
        if self._thread.is_alive() and not self._away:
            self._warn("is slow", "the last records of the run may be missing there")

    def _take(self, queue: deque[Item], items: Sequence[Item], most: int) -> None:
        with self._changed:
            if self._closed:
                return
            room = most - len(queue)
            queue.extend(items[: max(room, 0)])
            self._changed.notify_all()
        if room < len(items):
            self._warn("is slow", f"{self._what_goes_on}; some records of the run are left out")

    def _work(self) -> None:
        with mlflow_settings(), quiet_thread():
            while errand := self._next_errand():
                try:
                    self._run_errand(errand)
                # Whatever goes wrong in MLflow, its database driver or the network, in whichever
                # version: a training of hours does not end for the sake of its log.
                except Exception as error:  # noqa: BLE001
                    self._recover(errand, error)
                else:
                    self._away = False
                    self._pause = _FIRST_PAUSE
                self._settle()

    def _next_errand(self) -> Errand | None:
        """Wait for something to do; None when all is done."""
        with self._changed:
            if self.run_id is None and not self._settled:
                return "open"
            self._changed.wait_for(lambda: self._values or self._files or self._closed)
            if self.run_id is None:
                # Nothing was kept when the run cannot be opened at all.
                return "open" if self._values or self._files or self._last else None
            # A call costs as much for one metric as for a hundred: let some gather.
            self._changed.wait_for(lambda: self._closed, _GATHER)
            if self._values:
                return "values"
            if self._last:
                return "close"
            return "file" if self._files else None

    def _run_errand(self, errand: Errand) -> None:
        if errand == "open":
            from mlflow.tracking import MlflowClient

            create_database(self._store)
            uri = self._store.uri
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self.run_id = self._open_run(self._client)
            return
        assert self._client is not None
        assert self.run_id is not None
        if errand == "values":
            with self._changed:
                batch = list(islice(self._values, self._batch_length))
            _log_batch(self._client, self.run_id, batch)
            self._drop_values(len(batch))
            self._batch_length = _LARGEST_BATCH
        elif errand == "close":
            assert self._last is not None
            self._last(self._client, self.run_id)
            self._last = None
        else:
            send, _ = self._files[0]
            send(self._client, self.run_id)
            self._files.popleft()

    def _recover(self, errand: Errand, error: Exception) -> None:
        if not self._is_away(error):
            self._refused(errand, self._store.explain(error))
            return
        self._note_away(self._store.explain(_first_cause(error)))
        if errand == "file":
            # Behind the others: this one may be at fault, such as a folder that is not writable.
            send, attempt = self._files.popleft()
            if attempt < _MOST_ATTEMPTS:
                self._files.append((send, attempt + 1))
        self._settle()
        with self._changed:
            if self._closed:
                self._give_up()
            else:
                self._changed.wait_for(lambda: self._closed, self._pause)
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _refused(self, errand: Errand, reason: str) -> None:
        if errand == "open":
            self._warn("cannot be used", f"{self._what_goes_on}; nothing is recorded ({reason})")
            self._give_up()
            return
        if errand == "values" and self._batch_length > 1:
            # One value spoils the batch: look for it in smaller ones.
            self._batch_length = max(1, min(self._batch_length, len(self._values)) // 10)
            return
        self._warn(
            "refuses a part of the records",
            f"{self._what_goes_on}; that part is left out ({reason})",
        )
        if errand == "values":
            self._drop_values(1)
        elif errand == "file":
            self._files.popleft()
        else:
            self._last = None
        self._num_refused += 1
        if self._num_refused % _MOST_REFUSALS == 0:
            # A run that takes nothing, such as a deleted one: do not ask for each of thousands.
            with self._changed:
                self._values.clear()
                self._files.clear()

    def _is_away(self, error: Exception) -> bool:
        """Whether the store cannot take anything now, rather than refuse what it was given."""
        from mlflow.exceptions import MlflowException

        if isinstance(error, MlflowException):
            # MLflow calls an internal error what did not reach a server, and for a database what
            # it could not digest, which will not get better.
            away = _AWAY_SERVER if self._store.is_server else _AWAY
            return error.error_code in away
        return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)

    def _drop_values(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._values.popleft()

    def _give_up(self) -> None:
        with self._changed:
            self._closed = True
            self._last = None
            self._values.clear()
            self._files.clear()

    def _settle(self) -> None:
        with self._changed:
            self._settled = True
            self._changed.notify_all()

    def _note_away(self, reason: str) -> None:
        self._away = True
        self._warn(
            "does not answer",
            f"{self._what_goes_on}; what the run records is sent once MLflow answers, and lost "
            f"where it does not before the end ({reason})",
        )

    def _warn(self, what: str, consequence: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("MLflow at %s %s: %s.", self._store.shown, what, consequence)


def _log_batch(client: MlflowClient, run_id: str, batch: list[Value]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    client.log_batch(
        run_id,
        metrics=[value for value in batch if isinstance(value, Metric)],
        params=[value for value in batch if isinstance(value, Param)],
        tags=[value for value in batch if isinstance(value, RunTag)],
    )


def _first_cause(error: BaseException) -> BaseException:
    """Return what lies below: `Connection refused`, without four layers around it."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
