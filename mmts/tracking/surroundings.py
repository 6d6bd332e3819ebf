"""MLflow as a background thread needs it: quiet, and quick to give up."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# MLflow takes these from the environment and from nowhere else. At its own defaults one call to a
# server that is down blocks for four minutes. It also repeats what a server that hangs has taken
# already, such as the creation of a run: only we know what may be repeated.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# The first three carry the handlers that MLflow installs; urllib3 warns of every retry.
_LOGGERS = ("mlflow", "alembic", "sqlalchemy.engine", "urllib3.connectionpool")

_lock = threading.Lock()
_num_users = 0
_ours: set[str] = set()


@contextmanager
def mlflow_settings() -> Iterator[None]:
    """Hold MLflow's settings in the environment while any run is tracked.

    What the user has set stays as it is, and the last to leave takes away what was added.
    """
    global _num_users
    with _lock:
        _num_users += 1
        for name in _SETTINGS.keys() - os.environ.keys():
            os.environ[name] = _SETTINGS[name]
            _ours.add(name)
    try:
        yield
    finally:
        with _lock:
            _num_users -= 1
            if _num_users == 0:
                for name in _ours:
                    os.environ.pop(name, None)
                _ours.clear()


@contextmanager
def quiet_thread() -> Iterator[None]:
    """Keep what MLflow logs in this thread off the terminal; other threads stay heard."""
    thread = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        # By name too: a handler may serve other loggers as well.
        return record.thread != thread or not record.name.startswith(_LOGGERS)

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    # A logger's filter sees what is logged to that very logger, a handler's also what comes from
    # the loggers below.
    filtered = [*loggers, *(handler for logger in loggers for handler in logger.handlers)]
    for place in filtered:
        place.addFilter(of_others)
    try:
        yield
    finally:
        for place in filtered:
            place.removeFilter(of_others)
