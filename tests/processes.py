"""Servers that a test starts: each in a process group of its own, which ends with the test."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

BIN = Path(sys.executable).parent
LIMIT = 120.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def surroundings(**more: str) -> dict[str, str]:
    """Return the environment of a shell in which the environment of the tests is active."""
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **quiet, "PATH": path, **more}


@contextmanager
def running(
    command: list[str], log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends, whatever it has started with it."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(env), cwd=cwd,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            for how in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, how)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)


def wait_for(port: int, path: str, process: subprocess.Popen[bytes], log: Path) -> float:
    """Wait until a server answers; returns after how many seconds it did."""
    began = time.monotonic()
    while time.monotonic() < began + LIMIT:
        assert process.poll() is None, log.read_text()
        if answers(port, path):
            return time.monotonic() - began
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
