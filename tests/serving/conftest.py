"""A model that is registered in a store of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from mmts.serving.registry import Registered, register_checkpoint
from mmts.tracking.store import TrackingStore, locate_store

NAME, ALIAS = "small-world", "champion"


@dataclass(frozen=True)
class Registry:
    """A store in a folder of runs, with one model in it."""

    runs: Path
    store: TrackingStore
    checkpoint: Path
    made: Registered


@pytest.fixture(scope="session")
def registry(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    runs = tmp_path_factory.mktemp("registry")
    store = locate_store(None, runs)
    return Registry(runs, store, trained, register_checkpoint(trained, NAME, store, ALIAS))
