"""A training by the real command, in a process that may die at any of its moments.

A server imports this file once and forks each of the processes: what a training imports takes
several times as long as the training.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.backends.backend_agg  # noqa: F401
import mlflow.store.tracking.sqlalchemy_store
import mlflow.tracking  # noqa: F401
import torch

import mmts.plots
from mmts import experiment
from mmts.tracking.delivery import Delivery
from mmts.tracking.run import TrackedRun
from mmts.training import fitting, keeping, leading, listening
from mmts.training.module import ForecastingModule
from mmts.training.optimisation import Optimisation
from mmts.training.progress import EpochProgress
from pipelines.main import app

# Imported by a training when it needs them.
LOADED = (experiment, fitting, keeping, listening, EpochProgress, mmts.plots.plot_graph)

MAIN, SENDER = "main", "sender"
"""The thread that trains, and all others, of which one brings what is recorded to MLflow."""


@dataclass(frozen=True)
class Doom:
    """When a process dies: at the given moment, from 1, of a thread.

    torn: how much of a file is there, as a share, where it dies while it writes one.
    """

    thread: str
    moment: int
    torn: float = 1.0


class Moments:
    """Counts the moments of a process, and ends it at one of them as `kill -9` does."""

    def __init__(self, doom: Doom | None) -> None:
        self.doom = doom
        self.count: Counter[str] = Counter()

    def come(self, file: int | None = None) -> None:
        """Let a moment come; file: the descriptor of one that is being written."""
        is_main = threading.current_thread() is threading.main_thread()
        thread = MAIN if is_main else SENDER
        self.count[thread] += 1
        if self.doom is None or (thread, self.count[thread]) != (
            self.doom.thread, self.doom.moment,
        ):  # fmt: skip
            return
        if file is not None:
            os.ftruncate(file, int(self.doom.torn * os.fstat(file).st_size))
        os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """Let one come before and one after each call of a function."""
        original: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.come()
            found = original(*arguments, **named)
            self.come()
            return found

        setattr(owner, name, call)

    def in_writing(self) -> None:
        """Let one come before the last byte of a file is safe, with less of it there."""
        original = os.fsync

        def fsync(file: int) -> None:
            self.come(file)
            original(file)

        os.fsync = fsync


PLACES = (
    (os, "replace"), (Optimisation, "descend"), (ForecastingModule, "validation_step"),
    (leading, "begin_model"), (leading, "calibrate"), (leading, "record_outcome"),
    (TrackedRun, "finish"), (Delivery, "send_values"), (Delivery, "send_file"),
    (Delivery, "open"),
)  # fmt: skip


def live(arguments: list[str], doom: Doom | None, told: Path) -> None:
    """Run `mmts` with these arguments; told: file for what it says and, beside, its moments."""
    # A session of its own: what a test sends to a group does not reach the tests.
    os.setsid()
    with told.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    moments = Moments(doom)
    moments.in_writing()
    for owner, name in PLACES:
        moments.around(owner, name)
    app(arguments, standalone_mode=False)
    told.with_suffix(".json").write_text(json.dumps(moments.count))
