"""`mlflow run` on this repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.factories import write_world
from tests.processes import surroundings

PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())


@pytest.mark.parametrize("name", PROJECT["entry_points"])
def test_every_entry_point_is_a_command_with_these_options(name: str) -> None:
    from typer.main import get_command

    from pipelines.main import app

    entry = PROJECT["entry_points"][name]
    program, command, *rest = entry["command"].split()
    assert (program, command) == ("mmts", name)
    known = get_command(app).commands[name].params  # type: ignore[attr-defined]
    options = {option for param in known for option in param.opts}
    assert {word for word in rest if word.startswith("--")} <= options
    assert all("{" + parameter + "}" in rest for parameter in entry["parameters"])


@pytest.mark.slow
def test_mlflow_run_trains_in_the_run_that_it_has_begun(tmp_path: Path) -> None:
    from tests.factories import make_settings

    config = write_world(tmp_path / "world", make_settings() | {"tracking": {}})
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done = subprocess.run(
        [
            sys.executable, "-m", "mlflow", "run", ROOT, "-e", "train", "--env-manager", "local",
            "-P", f"config={config}", "-P", f"run-dir={tmp_path / 'run'}",
            "-P", "set=training.max_epochs=2",
        ],
        env=surroundings(MLFLOW_TRACKING_URI=uri), cwd=tmp_path, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "best.mmts").is_file()

    from mlflow.tracking import MlflowClient

    from mmts.checkpoint import read_info

    info = read_info(tmp_path / "run" / "best.mmts")
    assert info.config.tracking.uri == uri
    client = MlflowClient(uri)
    (run,) = client.search_runs([found.experiment_id for found in client.search_experiments()])
    assert run.info.run_id == info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params["config"] == str(config)
    assert run.data.metrics
