"""What all commands share: the log, and how they import."""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import typer

from pipelines.terminal import imports, run_app, start_log


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    log = logging.getLogger("mmts")
    before = log.handlers, log.level, log.propagate
    yield
    log.handlers, log.level, log.propagate = before


def test_what_is_said_of_a_file_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    start_log()
    for _ in range(2):
        logging.getLogger("mmts.data.reading.dialect").info("%s: blanks are left out", "a.csv")
        logging.getLogger("mmts.training").info("stopped")
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["a.csv: blanks are left out", "stopped", "stopped"]


def test_garbage_is_looked_for_again_once_imports_are_done_or_have_failed() -> None:
    with imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), imports():
        raise ImportError
    assert gc.isenabled()
    # Nothing that this process made before is to be kept for ever.
    gc.unfreeze()


def failing_app(error: OSError) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_under_another_library_is_told_too(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mmts"])
    with pytest.raises(SystemExit) as end:
        run_app(failing_app(OSError(number, os.strerror(number), "/tmp/x")))
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("OutputError: /tmp/x: cannot be written: ")


def test_any_other_fault_of_the_system_is_shown_as_our_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["mmts"])
    with pytest.raises(FileNotFoundError):
        run_app(failing_app(FileNotFoundError(errno.ENOENT, "No such file", "x")))
