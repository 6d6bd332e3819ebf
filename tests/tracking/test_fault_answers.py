"""Trainings beside servers that answer nonsense, refuse, hang up, or are not there at all.

None costs the training anything; the copy is complete; and where the server comes to its senses,
sync brings all of it.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mmts.tracking.journal import journal_of
from tests.tracking.fake_server import FakeServer
from tests.tracking.faulty_world import (
    Trained,
    assert_copy_is_complete,
    look_at,
    metrics_of,
    sync,
    train_in,
    warnings_in,
)

pytestmark = pytest.mark.slow

PATIENCE = 60.0


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one place for all: MLflow asks once for that of a run, which here is always r1."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Try again within a moment, give a call up after one second, leave no thread behind."""
    for name, seconds in {
        "_GATHER": 0.02, "_FIRST_PAUSE": 0.1, "_LONGEST_PAUSE": 0.2, "_OPEN_WAIT": 1.5,
        "_CLOSE_WAIT_AWAY": 0.5,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"mmts.tracking.outbox.{name}", seconds)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    yield
    rest()


def rest() -> None:
    """Wait until no thread brings anything to MLflow any more."""
    limit = time.monotonic() + PATIENCE
    while any(thread.name == "mmts-tracking" for thread in threading.enumerate()):
        assert time.monotonic() < limit
        time.sleep(0.02)


def error(code: str) -> bytes:
    return json.dumps({"error_code": code, "message": "no"}).encode()


ANSWERS: dict[str, tuple[int, bytes]] = {
    "an internal error": (500, error("INTERNAL_ERROR")),
    "an internal error without words": (500, b""),
    "a page of a proxy": (502, b"<html>Bad Gateway</html>"),
    "too busy": (503, error("TEMPORARILY_UNAVAILABLE")),
    "too many requests": (429, error("REQUEST_LIMIT_EXCEEDED")),
    "no password": (401, error("UNAUTHENTICATED")),
    "not allowed": (403, error("PERMISSION_DENIED")),
    "something else": (404, b"<html>Not Found</html>"),
    "HTML": (200, b"<html>Welcome</html>"),
    "noise": (200, bytes(range(256)) * 40),
    "half of JSON": (200, b'{"experiment": {"experiment_id": "1", '),
    "JSON of another kind": (200, b'[1, {"run": 3}, null]'),
    "empty JSON": (200, b"{}"),
    "fields of other types": (200, b'{"experiment": 7, "run": "x", "runs": {}}'),
}


class FaultyServer(FakeServer):
    """Answers one and the same, until it comes to its senses.

    answer: None for an answer in its senses.
    """

    def __init__(self, answer: tuple[int, bytes] | None, artifacts: Path) -> None:
        self.answer = answer
        self.artifacts = artifacts
        super().__init__()

    def reply(self, path: str, asked: dict[str, Any]) -> tuple[int, Any]:
        if self.answer is not None:
            return self.answer
        status, found = super().reply(path, asked)
        if "run" in found:
            info = {**found["run"]["info"], "artifact_uri": self.artifacts.as_uri()}
            found = {"run": {**found["run"], "info": info}}
        if status == 404:  # Tags and inputs, which this server does not keep.
            return 200, {}
        return status, found


@pytest.mark.parametrize("what", ANSWERS)
def test_a_server_that_answers_amiss_costs_nothing_and_gets_all_when_it_is_mended(
    what: str,
    untracked: Trained,
    artifacts: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = FaultyServer(ANSWERS[what], artifacts)
    try:
        run = train_in(tmp_path, {"uri": server.uri})
        assert look_at(run) == untracked
        (message,) = warnings_in(caplog)
        assert server.uri in message
        assert "mmts runs sync" in message
        assert_copy_is_complete(run)
        rest()
        assert sync(run).fault is not None
        server.answer = None
        synced = sync(run)
        assert (synced.fault, synced.left_out, synced.run_id) == (None, (), "r1")
        assert sync(run).num_values == 0
    finally:
        server.stop()
    told: dict[str, list[tuple[int, int, float]]] = {}
    for metric in server.metrics:
        point = (int(metric["step"]), int(metric["timestamp"]), float(metric["value"]))
        told.setdefault(metric["key"], []).append(point)
    assert {key: sorted(points) for key, points in told.items()} == metrics_of(journal_of(run))
    assert server.updates[-1]["status"] == "FINISHED"
    assert (artifacts / "best.mmts").read_bytes() == (run / "best.mmts").read_bytes()
    assert (artifacts / "pictures" / "graph.png").is_file()


class Rude(BaseHTTPRequestHandler):
    """Hangs up in the middle of an answer, or sends on to itself for ever."""

    how = "hangs up"

    def do_GET(self) -> None:
        if self.how == "hangs up":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
            self.close_connection = True
        elif self.how == "drips":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(30):
                self.wfile.write(b" ")
                time.sleep(0.1)
        else:
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.mark.parametrize("how", ["hangs up", "drips", "sends on"])
def test_a_server_that_does_not_end_its_answer_costs_nothing(
    how: str,
    untracked: Trained,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Rude, "how", how)
    with ThreadingHTTPServer(("127.0.0.1", 0), Rude) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        run = train_in(tmp_path, {"uri": f"http://127.0.0.1:{server.server_port}"})
        assert look_at(run) == untracked
        assert len(warnings_in(caplog)) == 1
        assert_copy_is_complete(run)
        rest()
        server.shutdown()


def _self_signed(folder: Path) -> ssl.SSLContext:
    """Make a certificate that nobody has signed."""
    import subprocess

    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=elsewhere.example", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_a_certificate_that_cannot_be_trusted_costs_nothing_and_is_named(
    untracked: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = _self_signed(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Rude) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        run = train_in(tmp_path, {"uri": f"https://127.0.0.1:{server.server_port}"})
        server.shutdown()
    assert look_at(run) == untracked
    (message,) = warnings_in(caplog)
    assert "certificate verify failed" in message
    assert_copy_is_complete(run)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9",  # Nobody listens.
        "http://nowhere.invalid:5000",  # No such name.
        "https://{silent}",  # Takes the connection, and says nothing.
        "http://{silent}",
        "http://127.0.0.1:99999",  # No such port.
        "http://[::1",  # No address.
        "htp://127.0.0.1:5000",  # No such protocol.
        "postgresql://127.0.0.1:9/mlflow",  # No database, or no driver for it.
        "sqlite:////proc/nowhere/mlflow.db",  # No place for a database.
        "databricks",  # No credentials.
    ],
)
def test_an_address_where_there_is_nothing_costs_nothing(
    uri: str, untracked: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        run = train_in(tmp_path, {"uri": uri.replace("{silent}", f"127.0.0.1:{port}")})
        assert look_at(run) == untracked
        assert len(warnings_in(caplog)) == 1
        assert_copy_is_complete(run)
        rest()
        assert sync(run).fault is not None
