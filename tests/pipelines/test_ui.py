"""`mmts ui`: what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mmts.errors import TrackingError
from mmts.tracking.config import TrackingConfig
from mmts.tracking.run import start_run
from pipelines import ui as command
from pipelines.ui import EXPERIMENT, LIST, first_page, ui
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
    """Return a store of two experiments, of which the first has the latest run."""
    for experiment, name in (("load", "older"), ("other", "second"), ("load", "first")):
        run = start_run(
            TrackingConfig(),
            experiment=experiment,
            run_name=name,
            folder=tmp_path / name,
            store=tmp_path,
        )
        run.log_metrics({"val/loss": 0.5}, 1)
        run.finish("FINISHED")
    return tmp_path


class Answers(BaseHTTPRequestHandler):
    """A server that knows experiments, and the latest run of them where there is one."""

    runs: ClassVar[list[dict[str, Any]]] = []
    asked: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(request)
        found = {"experiments": [{"experiment_id": "0"}, {"experiment_id": "7"}]}
        answer = json.dumps(found if self.path.endswith("experiments/search") else
                            {"runs": self.runs}).encode()  # fmt: skip
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.mark.parametrize(
    ("runs", "page"), [([], LIST), ([{"info": {"experiment_id": "7"}}], EXPERIMENT.format(7))]
)
def test_the_first_page_is_the_experiment_of_the_latest_run(
    runs: list[dict[str, Any]], page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "runs", runs)
    monkeypatch.setattr(Answers, "asked", [])
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert first_page(server.server_port) == page
        server.shutdown()
        thread.join()
    assert Answers.asked[1]["experiment_ids"] == ["0", "7"]
    assert Answers.asked[1]["order_by"] == ["start_time DESC"]


def test_where_the_server_does_not_tell_the_first_page_is_the_list() -> None:
    assert first_page(free_port()) == LIST


def addresses_of_this_machine() -> list[str]:
    """Return those by which others on the network would call it."""
    found = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: it only chooses the address that would be the sender's.
        probe.connect(("192.0.2.1", 9))
        found.add(probe.getsockname()[0])
    return sorted(
        address for address in found if not address.startswith("127.") and address != "::1"
    )


def reached(addresses: list[str], port: int) -> list[str]:
    """Return those at which something listens on a port."""
    found = []
    for address in addresses:
        try:
            socket.create_connection((address, port), timeout=5).close()
        except OSError:
            continue
        found.append(address)
    return found


def test_an_open_port_would_be_noticed() -> None:
    addresses = addresses_of_this_machine()
    if not addresses:
        pytest.skip("this machine has no address but its own")
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        assert reached(addresses, everywhere.getsockname()[1])


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
        assert not reached(addresses_of_this_machine(), port)
        body = b'{"experiment_ids": ["1"]}'
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/api/2.0/mlflow/runs/search", body, headers)
        assert b'"first"' in connection.getresponse().read()
        connection.close()
        (server,) = children_of(process.pid)
        # One worker, and nothing that waits for jobs: the command and what it serves with.
        (worker,) = children_of(server)
        assert not children_of(worker)
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
