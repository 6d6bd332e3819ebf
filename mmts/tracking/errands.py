"""What takes time to find or to make, done in the background."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Errands:
    """Does one thing after another in a thread; what one of them raises costs no more than it."""

    def __init__(self) -> None:
        """Wait for the first; a thread is there only while something is to be done."""
        self._queue: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._is_at_work = False
        self._warned = False

    def put(self, errand: Callable[[], None]) -> None:
        """Take one; it returns at once."""
        with self._changed:
            self._queue.append(errand)
            if not self._is_at_work:
                self._is_at_work = True
                threading.Thread(target=self._work, name="mmts-errands", daemon=True).start()

    def finish(self, limit: float) -> None:
        """Wait until all is done, for so many seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_at_work, limit)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._is_at_work = False
                    self._changed.notify_all()
                    return
                errand = self._queue.popleft()
            try:
                errand()
            # Whatever it is, from a picture to git: a training of hours does not end for it.
            except Exception as error:  # noqa: BLE001
                if not self._warned:
                    self._warned = True
                    logger.warning(
                        "a part of what MLflow shows of the run could not be made, and is left "
                        "out: %s: %s", type(error).__name__, error,
                    )  # fmt: skip
