"""Servers that are not there, that go away, and that come back."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmts.tracking.config import TrackingConfig
from mmts.tracking.run import TrackedRun, start_run
from tests.tracking.fake_server import FakeServer

PATIENCE = 20.0

Begin = Callable[[str], TrackedRun]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait milliseconds where a training waits seconds, and leave no thread behind."""
    for name, seconds in {
        "_GATHER": 0.01, "_FIRST_PAUSE": 0.05, "_LONGEST_PAUSE": 0.1,
        "_OPEN_WAIT": 0.5, "_CLOSE_WAIT_AWAY": 0.5,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"mmts.tracking.outbox.{name}", seconds)
    yield
    wait_for(lambda: all(thread.name != "mmts-tracking" for thread in threading.enumerate()))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def silent_uri(quick: None) -> Iterator[str]:
    """Return the address of a server that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


# At its own defaults MLflow would wait for 248 s; no machine is slow enough for this.
HANG = 100.0


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Begin a run in a folder of its own."""

    def begin(uri: str) -> TrackedRun:
        return start_run(
            TrackingConfig(uri=uri),
            experiment="load",
            run_name="first",
            folder=tmp_path / "first",
            store=tmp_path,
        )

    return begin


def record_everything(run: TrackedRun) -> None:
    run.log_params({"dim": 64})
    run.log_metrics({"loss": 1.0}, 1)
    run.set_tags({"a": "b"})
    run.log_text("text", "text.txt")
    run.log_dataset("load", "load.csv", "f", "training", {"rows": 3})


def wait_for(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_server_that_is_not_there_costs_no_time_and_raises_nothing(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    run = begin("http://127.0.0.1:9?x=hunter22")
    record_everything(run)
    run.finish("FINISHED")
    assert time.monotonic() - began < HANG
    assert run.run_id is None
    (message,) = warnings_of(caplog)
    assert "MLflow at http://127.0.0.1:9 does not answer: training goes on" in message
    assert "hunter22" not in caplog.text


def test_a_server_that_never_answers_is_not_waited_for(
    begin: Begin, silent_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    run = begin(silent_uri)
    record_everything(run)
    run.finish("FINISHED")
    assert time.monotonic() - began < HANG
    assert run.run_id is None
    (message,) = warnings_of(caplog)
    assert "does not answer: training goes on" in message


def test_a_server_that_dies_in_the_middle_is_warned_of_once(
    begin: Begin, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(server.uri)
    assert run.run_id == "r1"
    run.log_metrics({"loss": 1.0}, 1)
    wait_for(lambda: server.metrics)
    server.stop()
    for step in range(2, 6):
        run.log_metrics({"loss": 1.0}, step)
        time.sleep(0.1)
    began = time.monotonic()
    run.finish("FINISHED")
    assert time.monotonic() - began < HANG
    assert len(warnings_of(caplog)) == 1
    assert server.updates == []


def test_what_a_server_missed_is_sent_when_it_comes_back(
    begin: Begin, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(server.uri)
    server.stop()
    for step in range(100):
        run.log_metrics({"loss": float(step)}, step)
    wait_for(lambda: warnings_of(caplog))
    server.start()
    wait_for(lambda: len(server.metrics) == 100)
    run.finish("KILLED")
    assert [metric["step"] for metric in server.metrics] == list(range(100))
    assert server.updates[-1]["status"] == "KILLED"
    assert len(warnings_of(caplog)) == 1


def test_a_server_that_comes_late_gets_the_whole_run(
    begin: Begin, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    run = begin(server.uri)
    assert run.run_id is None
    run.log_metrics({"loss": 1.0}, 1)
    server.start()
    wait_for(lambda: run.run_id == "r1")
    run.finish("FINISHED")
    assert [metric["value"] for metric in server.metrics] == [1.0]
    assert server.updates[-1]["status"] == "FINISHED"


def test_metrics_of_many_steps_go_in_few_calls(begin: Begin, server: FakeServer) -> None:
    run = begin(server.uri)
    for step in range(3000):
        run.log_metrics({"loss": 1.0}, step)
    run.finish("FINISHED")
    assert len(server.metrics) == 3000
    assert server.num_batches < 20


def test_a_server_that_refuses_a_param_takes_the_rest(
    begin: Begin, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.refused = {"p7"}
    run = begin(server.uri)
    run.log_params({f"p{n}": n for n in range(40)})
    run.finish("FINISHED")
    assert {param["key"] for param in server.params} == {f"p{n}" for n in range(40)} - {"p7"}
    assert server.updates[-1]["status"] == "FINISHED"
    assert len(warnings_of(caplog)) == 1


def test_a_server_of_something_else_is_left_alone(
    begin: Begin, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(f"{server.uri}/elsewhere?x=hunter22")
    record_everything(run)
    run.finish("FINISHED")
    assert len(warnings_of(caplog)) == 1
    assert "hunter22" not in caplog.text


def test_nothing_waits_in_memory_while_a_server_is_away(begin: Begin, tmp_path: Path) -> None:
    run = begin("http://127.0.0.1:9")
    for step in range(2000):
        run.log_metrics({"loss": 1.0}, step)
    assert run._journal is not None
    assert run._journal._unwritten == []
    run.finish("FINISHED")
    records = (tmp_path / "first" / "tracking" / "records.jsonl").read_text().splitlines()
    steps = [json.loads(line).get("step") for line in records if '"metrics"' in line]
    assert steps == list(range(2000))


def test_settings_of_the_user_are_kept(
    begin: Begin, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    run = begin(server.uri)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    run.finish("FINISHED")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
