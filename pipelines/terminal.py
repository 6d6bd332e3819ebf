"""What all commands share: how a user's error is shown, and how the log is written."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from mmts.errors import MmtsError

USER_ERROR = 2
INTERRUPTED = 130


def run(command: Callable[..., Any]) -> None:
    """Run one command as a program of its own."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    run_app(app)


def run_app(app: typer.Typer) -> None:
    """Run an app; an error in what the user gave is one message and exit code 2."""
    # By default threads wait for each other without rest. Beside any other busy process that made
    # gathering a batch eighty times slower; it must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    start_log()
    try:
        app()
    except MmtsError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)


@contextmanager
def imports() -> Iterator[None]:
    """Import without looking for garbage, now or later, in what an import leaves.

    That is some hundred thousand objects, none of them garbage. To look all of them over, again
    and again while they were made and once more at the end, took a fifth of the time of a forecast.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def start_log() -> None:
    """Show what mmts logs on the standard error stream."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter())
    handler.addFilter(_say_of_data_once)
    _said.clear()
    log = logging.getLogger("mmts")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


_said: set[str] = set()


def _say_of_data_once(record: logging.LogRecord) -> bool:
    """Leave out what was said of the data before: one file may be opened for several streams."""
    if not record.name.startswith("mmts.data."):
        return True
    message = record.getMessage()
    is_new = message not in _said
    _said.add(message)
    return is_new


class _PlainFormatter(logging.Formatter):
    """The message alone; a warning says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        return f"warning: {message}" if record.levelno >= logging.WARNING else message
