"""Fixtures that several tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.factories import make_settings, write_world

if TYPE_CHECKING:
    from mmts.data.dataset import Dataset
    from mmts.forecasting import Forecaster

ROOT = Path(__file__).resolve().parent.parent

Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots", metavar="DIR", help="keep what the tests saw in a browser in this folder"
    )
    parser.addoption(
        "--fuzz-runs", metavar="N", default="400", help="inputs that each fuzzer tries, in all"
    )
    parser.addoption("--kills", type=int, default=20, help="how often trainings are killed")
    parser.addoption("--kill-seed", type=int, default=0, help="decides at which moments")


# `pytest --hypothesis-profile thorough` tries ten times as many inputs; by default a hundred.
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Hold that no test leaves the process, and all that it starts, deaf to Ctrl-C."""
    before = signal.getsignal(signal.SIGINT)
    yield
    after = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    assert after == before


@pytest.fixture(scope="session")
def mmts() -> Command:
    """Run the real command in a new process."""

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mmts.pipelines.main", *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, "COLUMNS": "120", "OMP_NUM_THREADS": "1"},
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Return the config of a small world, with its CSV files beside it."""
    return write_world(tmp_path / "world")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a model trained on the small world; its data lie in ../world."""
    from mmts.config import load_config
    from mmts.experiment import train

    folder = tmp_path_factory.mktemp("trained")
    config = load_config(write_world(folder / "world", make_settings()))
    return train(config, folder / "run").checkpoint


@pytest.fixture(scope="module")
def forecaster(trained: Path) -> Forecaster:
    """Return a forecaster from that checkpoint."""
    from mmts.forecasting import Forecaster

    return Forecaster.from_checkpoint(trained)


@pytest.fixture(scope="module")
def dataset(forecaster: Forecaster) -> Dataset:
    """Return the data that it was trained on."""
    from mmts.evaluation import load_evaluation_data

    return load_evaluation_data(forecaster.info)
