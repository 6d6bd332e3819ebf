"""A tracking server of a few lines, which can go away and come back."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EXPERIMENT = {"experiment_id": "1", "name": "load", "lifecycle_stage": "active"}
INFO = {"run_id": "r1", "run_uuid": "r1", "experiment_id": "1", "lifecycle_stage": "active"}
RUN = {"run": {"info": INFO, "data": {}}}


class FakeServer:
    """Answers what a run asks of MLflow, and keeps what it is sent.

    refused: names of params that it does not take.
    """

    def __init__(self) -> None:
        self.metrics: list[dict[str, Any]] = []
        self.params: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.num_batches = 0
        self.refused: set[str] = set()
        self._server: ThreadingHTTPServer | None = None
        self.start()
        assert self._server is not None
        self.port: int = self._server.server_address[1]

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.answer(json.loads(self.rfile.read(length) or b"{}"))

            def answer(self, asked: dict[str, Any]) -> None:
                status, reply = fake.reply(self.path.partition("?")[0], asked)
                body = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", getattr(self, "port", 0)), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def reply(self, path: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path.endswith("experiments/get-by-name"):
            return 200, {"experiment": EXPERIMENT}
        if path.endswith(("runs/create", "runs/get")):
            return 200, RUN
        if path.endswith("runs/search"):
            return 200, {"runs": []}
        if path.endswith("runs/update"):
            self.updates.append(asked)
            return 200, {"run_info": RUN["run"]["info"]}
        if path.endswith("runs/log-batch"):
            self.num_batches += 1
            if any(param["key"] in self.refused for param in asked.get("params", [])):
                error = {"error_code": "INVALID_PARAMETER_VALUE", "message": "changing a param"}
                return 400, error
            self.metrics += asked.get("metrics", [])
            self.params += asked.get("params", [])
            return 200, {}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}
