"""A real MLflow server that a test kills, freezes and lets go on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.processes import free_port, running, surroundings, wait_for

if TYPE_CHECKING:
    import subprocess

    from mlflow.tracking import MlflowClient


class MlflowServer:
    """`mlflow server` on a SQLite file, with its artifacts beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return self.folder / "server.db"

    def start(self, largest_file: int | None = None) -> None:
        """Start; returns when it answers. largest_file: bytes, as on a disk that is full."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        if largest_file is not None:
            blocks = largest_file // 1024
            command = ["bash", "-c", f'trap "" XFSZ; ulimit -f {blocks}; exec "$@"', "_", *command]
        log = self.folder / "server.log"
        env = surroundings(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        self._process = self._running.enter_context(running(command, log, env, self.folder))
        wait_for(self.port, "/health", self._process, log)

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        self._signal(signal.SIGKILL)
        self._running.close()
        self._process = None

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it work again, on what it was sent meanwhile too."""
        self._signal(signal.SIGCONT)

    def client(self) -> MlflowClient:
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def _signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, how)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Run a server until the block ends."""
    server = MlflowServer(folder)
    server.start()
    try:
        yield server
    finally:
        if server._process is not None:
            server.go_on()
            server.kill()
