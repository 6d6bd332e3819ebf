"""The standard server of MLflow on a registered model, asked as any program asks it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import Command
from tests.factories import make_frames
from tests.processes import free_port, running, surroundings, wait_for
from tests.serving.conftest import Registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def port(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve",
        "--model-uri", "models:/small-world@champion",
        "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    log, env = folder / "log", surroundings(MLFLOW_TRACKING_URI=registry.store.uri)
    with running(command, log, env, cwd=folder) as process:
        wait_for(port, "/ping", process, log)
        yield port


def ask(port: int, request: object) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/invocations", json.dumps(request), headers)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def rows_of(registry: Registry) -> dict[str, list[dict[str, Any]]]:
    """Read the CSV files of training as a program would that knows nothing of mmts."""
    world = registry.checkpoint.parent.parent / "world"
    return {
        name: json.loads(pd.read_csv(world / f"{name}.csv").to_json(
            orient="records", double_precision=15))
        for name in make_frames()
    }  # fmt: skip


@pytest.mark.parametrize("origin", [None, "2024-01-15T06:00"])
def test_the_server_answers_with_what_mmts_forecast_writes(
    port: int, registry: Registry, mmts: Command, tmp_path: Path, origin: str | None
) -> None:
    request: dict[str, Any] = {"inputs": {"streams": rows_of(registry)}}
    asked = []
    if origin is not None:
        request["params"] = {"origin": origin}
        asked = ["--origin", origin]
    status, answer = ask(port, request)
    assert status == 200, answer
    done = mmts(
        "forecast", "models:/small-world@champion", "--runs", registry.runs,
        "--output", tmp_path / "forecast.csv", *asked,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = pd.read_csv(tmp_path / "forecast.csv")
    assert len(written) == 2 * 6
    served = pd.DataFrame(answer["predictions"])
    pd.testing.assert_frame_equal(served, written, check_exact=True, check_dtype=False)


def test_a_wrong_request_is_answered_with_what_is_wrong(port: int, registry: Registry) -> None:
    rows = rows_of(registry)
    rows["load"][2]["load"] = "much"
    status, answer = ask(port, {"inputs": {"streams": rows}})
    assert status == 400
    said = "DataError: data frame of stream 'load', row 3, column 'load': 'much' is not a number"
    assert said in answer["message"]
    status, answer = ask(port, {"inputs": {"streams": {"load": "/etc/passwd"}}})
    assert status == 400
    assert "stream 'load': is text, not a table" in answer["message"]
    status, answer = ask(port, {"inputs": {"streams": {"weather": rows["weather"]}}})
    assert status == 400
    assert "load" in answer["message"]
