"""One trained model for all tests of a backtest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backtest.worlds import train_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a tiny model; its data lie in ../world."""
    return train_tiny(tmp_path_factory.mktemp("tiny"))
