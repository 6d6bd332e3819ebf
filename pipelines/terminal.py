"""What all commands share: how they speak, to whom, and with which code they end.

Results go to standard output; the log, warnings, progress and errors go to standard error.
"""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TextIO, cast

import typer

from mmts.errors import MmtsError, OutputError
from mmts.files import output_error
from mmts.interrupts import Terminated
from mmts.tracking.secrets import hide_secrets

# Told to users in docs/commands.md.
FAILED = 1
USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _hush(quiet: bool) -> bool:
    """Keep back what is logged, but for warnings."""
    if quiet:
        logging.getLogger("mmts").setLevel(logging.WARNING)
    return quiet


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=_hush, help="Say nothing but warnings and errors."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON, and nothing else.")]


def run(command: Callable[..., Any]) -> None:
    """Run one command as a program of its own."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    run_app(app)


def run_app(app: typer.Typer, name: str | None = None) -> None:
    """Run an app; an error in what the user gave is one message and exit code 2.

    name: what the program is called, in its help and by a shell that completes it.
    """
    # By default threads wait for each other without rest. Beside any other busy process that made
    # gathering a batch eighty times slower; it must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    start_log()
    try:
        with reader_may_leave():
            app(prog_name=name)
    except MmtsError as error:
        _end_with(error)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        # What other libraries write for the time of a command; of our own files we say more.
        _end_with(output_error(error.filename or "a file for the time of the command", error))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)


@contextmanager
def sigterm_told_apart() -> Iterator[None]:
    """End with the code of SIGTERM what SIGTERM has stopped: Typer ends it as Ctrl-C does."""
    try:
        yield
    except Terminated:
        raise typer.Exit(TERMINATED) from None


def _end_with(error: MmtsError) -> NoReturn:
    print(f"{type(error).__name__}: {hide_secrets(str(error))}", file=sys.stderr)
    sys.exit(USER_ERROR)


def print_json(found: Any) -> None:
    """Print what a program reads."""
    print(json.dumps(found, indent=2, allow_nan=False))


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Go on where whoever reads standard output has gone, as `head` goes when it has enough.

    What a command does beside printing is done to its end, and that is no failure. Raises
    OutputError where standard output cannot be written to for any other reason.
    """
    before = sys.stdout
    if before is None:  # It was closed before we began.
        yield
        return
    # Each method but three is that of the stream itself.
    sys.stdout = cast(TextIO, _Patient(before))
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before


class _Patient:
    """A stream that takes no notice when nobody reads it any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._attempt():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._attempt():
            self._stream.flush()

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is left in the buffer would be tried again, and fail again, as Python ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError):
                raise OutputError(
                    f"standard output cannot be written: {error.strerror}. Make room, or write "
                    "elsewhere."
                ) from None


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
        message = hide_secrets(record.getMessage())
        return f"warning: {message}" if record.levelno >= logging.WARNING else message
