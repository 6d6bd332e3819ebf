"""`mmts ui`: look at the experiments in a browser."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from .terminal import run

if TYPE_CHECKING:
    from mmts.tracking.store import TrackingStore

HOST = "127.0.0.1"  # MLflow asks for no password: nobody else on the network may see it.
# The pages for models; MLflow opens those for language models else.
LIST = "#/experiments?workflowType=machine_learning"
EXPERIMENT = "#/experiments/{}/runs?workflowType=machine_learning"
MOST_EXPERIMENTS = 1000  # MLflow lists no more at once.
START_LIMIT = 180.0
STOP_LIMIT = 10.0


def ui(
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    uri: Annotated[
        str | None, typer.Option(help="Database to show instead: sqlite:///other.db.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    opens: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser of this machine.")
    ] = False,
) -> None:
    """Show the experiments in MLflow until Ctrl-C, beginning with that of the latest run."""
    from mmts.errors import TrackingError
    from mmts.tracking.store import locate_store

    store = locate_store(uri, runs)
    if store.is_server:
        raise TrackingError(f"{store.shown}: is a server already. Open it in a browser.")
    if store.database is not None and not store.database.is_file():
        raise TrackingError(
            f"{store.shown}: nothing has been tracked yet. "
            "Train first, or name the folder of runs with --runs."
        )
    require_free(port)
    print(f"starting MLflow on {store.shown}, which takes some seconds ...", file=sys.stderr)
    with contextlib.suppress(KeyboardInterrupt), mlflow_server(store, port) as server:
        address = f"http://{HOST}:{port}/{first_page(port)}"
        print(f"{address}\nCtrl-C stops it.", flush=True)
        if opens:
            import webbrowser

            webbrowser.open(address)
        server.wait()
        raise TrackingError("MLflow has ended by itself. Start it anew with `mmts ui`.")


def require_free(port: int) -> None:
    """Raise TrackingError when something listens on the port already."""
    from mmts.errors import TrackingError

    with socket.socket() as probe:
        # As the server will: a port that was in use a moment ago is free.
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            other = port + 1 if port < 65535 else port - 1
            raise TrackingError(
                f"port {port} is not free ({error.strerror}). If MLflow runs there already, open "
                f"http://{HOST}:{port}. Else choose another port: mmts ui --port {other}"
            ) from None


@contextlib.contextmanager
def mlflow_server(store: TrackingStore, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run an MLflow server that answers; whatever happens, it ends with the block."""
    assert store.artifact_location is not None
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    # One worker and no jobs: a quarter of the memory and of the time to start.
    command += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    surroundings = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **os.environ,
        # Not on the command line, which every user of the machine can read: it may hold a password.
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        "MLFLOW_ARTIFACTS_DESTINATION": store.artifact_location,
    }
    with tempfile.TemporaryFile() as log, ending_by_signal():
        server = subprocess.Popen(
            command,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A process group of its own: MLflow starts further processes, and all shall end.
            start_new_session=True,
        )
        try:
            wait_until_up(server, port, store, log)
            yield server
        finally:
            stop(server)


def wait_until_up(
    server: subprocess.Popen[bytes], port: int, store: TrackingStore, log: IO[bytes]
) -> None:
    """Return when the server answers; raise TrackingError with its last words if it ends."""
    from mmts.errors import TrackingError

    limit = time.monotonic() + START_LIMIT
    while not answers(port):
        if server.poll() is not None or time.monotonic() > limit:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            last = store.explain(RuntimeError(lines[-1])) if lines else "it said nothing"
            raise TrackingError(f"{store.shown}: MLflow did not start: {last}")
        time.sleep(0.2)


def answers(port: int) -> bool:
    # Here, as to load it takes a tenth of the time of `mmts --help`.
    import http.client

    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def first_page(port: int) -> str:
    """Return the page of the experiment whose run began last; without a run, that of all."""
    listed = ask(port, "experiments/search", {"max_results": MOST_EXPERIMENTS})
    experiments = [found["experiment_id"] for found in listed.get("experiments", ())]
    latest = ask(
        port,
        "runs/search",
        {"experiment_ids": experiments, "order_by": ["start_time DESC"], "max_results": 1},
    )
    runs = latest.get("runs", ())
    return EXPERIMENT.format(runs[0]["info"]["experiment_id"]) if runs else LIST


def ask(port: int, what: str, request: dict[str, object]) -> dict[str, Any]:
    """Ask the server for something; an answer that it refuses, or cannot give, is empty."""
    import http.client

    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/api/2.0/mlflow/{what}", json.dumps(request), headers)
        response = connection.getresponse()
        body = response.read()
        found: dict[str, Any] = json.loads(body) if response.status == http.HTTPStatus.OK else {}
        return found
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()


@contextlib.contextmanager
def ending_by_signal() -> Iterator[None]:
    """Treat a closed terminal, or a plain `kill`, as Ctrl-C: the server must not outlive us."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and what it has started; a second Ctrl-C does not stop the stopping."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        end(server, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_LIMIT)
        # Also when the first process has ended: the others may not have.
        end(server, getattr(signal, "SIGKILL", signal.SIGTERM))
        server.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def end(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    if os.name != "posix":
        server.terminate()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, how)


if __name__ == "__main__":
    run(ui)
