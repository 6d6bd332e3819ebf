"""What all commands share: the log, and how they import."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from pipelines.terminal import imports, start_log


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
