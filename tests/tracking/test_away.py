"""The real commands while MLflow is away: they end well, say so once, and can be synced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmts.tracking.journal import journal_of
from tests.conftest import ROOT, Command
from tests.factories import write_world
from tests.tracking.faulty_world import (
    assert_copy_is_complete,
    assert_store_holds_all,
    look_at,
    settings_of,
)
from tests.tracking.mlflow_server import MlflowServer, mlflow_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("warning: MLflow")]


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_train_and_evaluate_end_well_and_sync_brings_both(
    how: str, server: MlflowServer, mmts: Command, tmp_path: Path
) -> None:
    config = write_world(tmp_path / "world", settings_of({"uri": server.uri}))
    if how == "killed":
        server.kill()
    else:
        server.freeze()
    done = mmts("train", config, "--run-dir", "runs/one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (warning,) = warnings_of(done)
    assert f"MLflow at {server.uri} does not answer" in warning
    assert "mmts runs sync runs/one" in warning
    run = tmp_path / "runs" / "one"
    assert_copy_is_complete(run)
    done = mmts("evaluate", "runs/one/best.mmts", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(warnings_of(done)) == 1
    assert (run / "evaluation" / "report.html").is_file()
    done = mmts("runs", "sync", "runs/one", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"TrackingError: runs/one: MLflow at {server.uri}")
    assert "Traceback" not in done.stderr

    if how == "killed":
        server.start()
    else:
        server.go_on()
    done = mmts("runs", "sync", "one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "values and" in done.stdout
    assert_store_holds_all(server.client(), run, tmp_path / "downloaded")
    run_id = journal_of(run).delivered.run_id
    assert run_id is not None
    assert "report.html" in [file.path for file in server.client().list_artifacts(run_id)]
    done = mmts("runs", "sync", cwd=tmp_path)
    assert f"runs/one: nothing was missing of run {run_id}" in done.stdout

    # What looks the run up finds it, though the checkpoint does not know it.
    listed = json.loads(mmts("runs", "list", "--json", cwd=tmp_path).stdout)
    assert listed[0]["run_id"] == run_id
    done = mmts("register", "runs/one/best.mmts", "small-world", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    versions = server.client().search_model_versions("name = 'small-world'")
    assert run_id in [version.run_id for version in versions]
    done = mmts("evaluate", "runs/one/best.mmts", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert warnings_of(done) == []
    points = server.client().get_metric_history(run_id, "test/by_step/mae")
    assert Counter(point.step for point in points) == dict.fromkeys(range(1, 7), 1)


def test_ctrl_c_ends_the_wait_for_a_server_and_the_run_is_kept(
    server: MlflowServer, tmp_path: Path
) -> None:
    config = write_world(tmp_path / "world", settings_of({"uri": server.uri}))
    script = """
import os, sys
from mmts.tracking.outbox import Outbox
from pipelines.terminal import run
from pipelines.train import train
real = Outbox.close
def close(self):
    print("waiting", flush=True)
    sys.stdin.readline()
    real(self)
Outbox.close = close
sys.argv[0] = "mmts-train"
run(train)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(config), "--run-dir", "one"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    server.freeze()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    server.go_on()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert_copy_is_complete(tmp_path / "one")


def test_a_training_that_ends_by_ctrl_c_while_the_server_is_away_is_killed_when_synced(
    server: MlflowServer, mmts: Command, tmp_path: Path
) -> None:
    settings = settings_of({"uri": server.uri})
    settings["training"] |= {"max_epochs": 500, "patience": 500}
    config = write_world(tmp_path / "world", settings)
    server.kill()
    process = subprocess.Popen(
        [sys.executable, "-m", "mmts.pipelines.main", "train", str(config), "--run-dir", "one"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    server.start()
    done = mmts("runs", "sync", "one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run_id = journal_of(tmp_path / "one").delivered.run_id
    assert server.client().get_run(run_id or "").info.status == "KILLED"
    assert_store_holds_all(server.client(), tmp_path / "one", tmp_path / "downloaded")
    assert look_at(tmp_path / "one").losses[0][0] == 0
