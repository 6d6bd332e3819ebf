"""What the commands show of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from pipelines.terminal import start_log


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
