"""`mmts ui`: what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mmts.errors import TrackingError
from mmts.tracking.config import TrackingConfig
from mmts.tracking.run import start_run
from pipelines import ui as command
from pipelines.ui import EXPERIMENT, ui
from tests.conftest import ROOT


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder with something that looks like a store from outside."""
    (tmp_path / "mlflow.db").touch()
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_without_a_store_it_says_that_nothing_has_been_tracked(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        ui(runs=tmp_path / "runs", uri=None, port=5000)
    assert str(caught.value) == (
        f"{tmp_path / 'runs' / 'mlflow.db'}: nothing has been tracked yet. "
        "Train first, or name the folder of runs with --runs."
    )
    assert not list(tmp_path.iterdir())


def test_a_sqlite_file_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="nothing has been tracked yet"):
        ui(runs=tmp_path, uri=f"sqlite:///{tmp_path}/other.db", port=5000)
    assert not list(tmp_path.iterdir())


def test_a_server_needs_no_server_and_its_password_is_not_shown() -> None:
    with pytest.raises(TrackingError) as caught:
        ui(runs=Path("runs"), uri="http://ann:hunter22@tracking.example:5000", port=5000)
    assert str(caught.value).startswith("http://tracking.example:5000: is a server already")


def test_a_port_in_use_is_named_with_a_way_out(runs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        with pytest.raises(TrackingError, match=f"port {port} is not free") as caught:
            ui(runs=runs, uri=None, port=port)
    assert f"mmts ui --port {port + 1}" in str(caught.value)


def test_a_server_that_does_not_start_leaves_its_last_words(
    runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho starting >&2\necho no such table: runs >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(TrackingError, match="MLflow did not start: no such table: runs"):
        ui(runs=runs, uri=None, port=free_port())


def test_what_the_server_has_started_ends_with_it(
    runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "python"
    # A child that takes no hint, as a worker that hangs.
    fake.write_text(f"#!/bin/sh\n(trap '' TERM; echo $$ > {tmp_path}/pid; sleep 60) &\nwait\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setattr(command, "START_LIMIT", 1.0)
    with pytest.raises(TrackingError, match="did not start"):
        ui(runs=runs, uri=None, port=free_port())
    group = int((tmp_path / "pid").read_text())
    assert not alive(group)


def alive(group: int) -> bool:
    """Whether a process of the group is left; one that nobody has waited for does not count."""
    listed = subprocess.run(
        ["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    found = [line.split() for line in listed.splitlines()]
    return any(int(pgid) == group and not stat.startswith("Z") for pgid, stat in found)


def children_of(pid: int) -> list[int]:
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in done.stdout.split()]


@pytest.fixture
def tracked(tmp_path: Path) -> Path:
    run = start_run(TrackingConfig(), experiment="load", run_name="first", store=tmp_path)
    run.log_metrics({"val/loss": 0.5}, 1)
    run.finish("FINISHED")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_shows_the_runs_until_ctrl_c_and_leaves_no_process(
    tracked: Path, how: signal.Signals
) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.ui", "--runs", str(tracked), "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"http://127.0.0.1:{port}/{EXPERIMENT.format(1)}\n"
        body = b'{"experiment_ids": ["1"]}'
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/api/2.0/mlflow/runs/search", body, headers)
        assert b'"first"' in connection.getresponse().read()
        connection.close()
        (server,) = children_of(process.pid)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert not alive(server)
    with socket.create_server(("127.0.0.1", port)):
        pass  # The port is free again.
    assert not (ROOT / "mlruns").exists()
