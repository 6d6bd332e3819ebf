"""Brings a run to MLflow while it is recorded, from a background thread."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, closing

from mmts.tracking.delivery import Delivery, RunGoneError
from mmts.tracking.surroundings import mlflow_settings, quiet_thread

logger = logging.getLogger(__name__)

# The first creation of a SQLite store takes seconds, on a busy machine many.
_OPEN_WAIT_NEW_DATABASE = 60.0
_OPEN_WAIT = 5.0
_CLOSE_WAIT = 30.0
_CLOSE_WAIT_AWAY = 5.0
_GATHER = 1.0
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0


class Outbox:
    """Delivers what is appended to a journal; nothing that the store does is felt outside.

    While the store is away it is tried again at growing intervals. What it refuses is left out,
    and what is missing at the end stays in the journal. Each is warned of once.
    """

    def __init__(self, delivery: Delivery, what_goes_on: str) -> None:
        """Take a delivery that nobody else uses; what_goes_on: while the store is away."""
        self._delivery = delivery
        self._store = delivery.store
        self._journal = delivery.journal
        self._what_goes_on = what_goes_on
        self._has_news = False
        self._has_more = True
        self._closed = False
        self._ends = False
        self._settled = False
        self._away = False
        self._warned: set[str] = set()
        self._num_left_out = 0
        self._pause = _FIRST_PAUSE
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="mmts-tracking", daemon=True)

    @property
    def run_id(self) -> str | None:
        """None until the store has answered."""
        return self._delivery.run_id

    def open(self) -> None:
        """Start, and wait a short while for the store to answer for the first time."""
        database = self._store.database
        is_new = database is not None and not database.exists()
        limit = _OPEN_WAIT_NEW_DATABASE if is_new else _OPEN_WAIT
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._settled, limit)
            if not self._settled:
                self._note_away(f"no answer within {limit:g} s")

    def notify(self) -> None:
        """Tell that something was appended."""
        with self._changed:
            self._has_news = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wait a bounded time until all is sent; Ctrl-C ends the wait."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_WAIT_AWAY if self._away else _CLOSE_WAIT)
        if self._thread.is_alive() and not self._away:
            self._warn(f"is slow: not all is there yet. Bring the rest: {self._remedy}")

    def leave(self) -> None:
        """Do no more; the call that is under way, if any, is the last."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()

    @property
    def _remedy(self) -> str:
        return f"mmts runs sync {self._journal.home}"

    def _work(self) -> None:
        with mlflow_settings(), quiet_thread(), ExitStack() as held:
            is_ours = False
            while self._wait():
                try:
                    if not is_ours and (claim := self._journal.claim()) is not None:
                        is_ours = True
                        held.enter_context(closing(claim))
                    # Another process that brings the run to MLflow takes what comes from here too.
                    self._has_more = is_ours and self._deliver()
                except RunGoneError as error:
                    self._warn(
                        f"cannot be used: {self._what_goes_on}; nothing is recorded there ({error})"
                    )
                    self._ends = True
                # Whatever goes wrong in MLflow, its database driver or the network, in whichever
                # version: a training of hours does not end for the sake of its log.
                except Exception as error:  # noqa: BLE001
                    self._note_away(self._store.explain(_first_cause(error)))
                    self._rest()
                else:
                    self._away = False
                    self._pause = _FIRST_PAUSE
                self._settle()

    def _wait(self) -> bool:
        """Wait for something to do; False when all is done."""
        with self._changed:
            if not self._has_more:
                self._changed.wait_for(lambda: self._has_news or self._closed or self._ends)
                # A call costs as much for one metric as for a hundred: let some gather.
                self._changed.wait_for(lambda: self._closed, _GATHER)
                self._ends = self._ends or not self._has_news
            self._has_news = False
            return not self._ends

    def _deliver(self) -> bool:
        """Do what one call does; returns whether there may be more."""
        if self._delivery.has_opened:
            # All values before the next file, which may be slow.
            more = self._delivery.send_values() or self._delivery.send_file()
        else:
            self._delivery.open()
            more = True
        left_out = self._delivery.left_out
        if len(left_out) > self._num_left_out:
            self._warn(
                f"refuses a part of the records: {self._what_goes_on}; that part is left out "
                f"({left_out[0]})"
            )
            self._num_left_out = len(left_out)
        return more

    def _rest(self) -> None:
        self._settle()
        with self._changed:
            # What is missing then stays in the journal.
            self._ends = self._ends or self._closed
            self._changed.wait_for(lambda: self._closed, self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._has_more = True

    def _settle(self) -> None:
        with self._changed:
            self._settled = True
            self._changed.notify_all()

    def _note_away(self, reason: str) -> None:
        self._away = True
        self._warn(
            f"does not answer: {self._what_goes_on}; what the run records is kept in "
            f"{self._journal.folder}, and sent once MLflow answers. To send later what is missing "
            f"at the end: {self._remedy} ({reason})"
        )

    def _warn(self, what: str) -> None:
        kind = what.partition(":")[0]
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("MLflow at %s %s.", self._store.shown, what)


def _first_cause(error: BaseException) -> BaseException:
    """Return what lies below: `Connection refused`, without four layers around it."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
