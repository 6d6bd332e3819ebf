"""`mmts train --resume`: what it takes, and what it refuses."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from mmts.config import load_config
from mmts.data.batch import Batch
from mmts.errors import ConfigError, RunError
from mmts.experiment import train
from mmts.training.optimisation import Optimisation
from pipelines.train import train as command
from tests.factories import make_stopping_settings, write_world


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, Path]:
    """Return a config, and the folder of a training that was stopped after two steps."""
    settings = make_stopping_settings()
    settings["training"] |= {"max_epochs": 1, "steps_per_epoch": 4}
    path, folder = write_world(tmp_path / "world", settings), tmp_path / "runs/one"
    take = Optimisation.take

    def press(optimisation: Optimisation, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        taken = take(optimisation, batch, step)
        if step == 1:
            signal.raise_signal(signal.SIGINT)
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Optimisation, "take", press)
        with pytest.raises(KeyboardInterrupt):
            train(load_config(path), folder)
    return path, folder


@pytest.mark.parametrize("given", [True, False])
def test_the_folder_alone_does_and_the_same_config_may_stand_beside(
    stopped: tuple[Path, Path], capsys: pytest.CaptureFixture[str], given: bool
) -> None:
    path, folder = stopped
    command(path if given else None, resume=folder, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(folder)
    assert [epoch["number"] for epoch in found["history"]] == [0, 1]


def test_another_config_is_refused(stopped: tuple[Path, Path]) -> None:
    path, folder = stopped
    with pytest.raises(RunError, match=r"training\.batch_size: 8 in the run, 4 in the config"):
        command(path, ["training.batch_size=4"], resume=folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name the YAML file of an experiment, or --resume a run"),
        ({"resume": Path("x"), "overrides": ["seed=2"]}, "--set: a training goes on with the"),
        ({"resume": Path("x"), "run_dir": Path("y")}, "--run-dir: a run stays in its folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        command(**options)
