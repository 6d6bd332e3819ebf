"""The processes that train trials: this one, or several at the same time."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import queue
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from mmts.child_processes import end_with_parent, say_end
from mmts.errors import MmtsError, TrainingError
from mmts.interrupts import SignalWatch
from mmts.training.assignment import TrainingData
from mmts.tuning.folder import StudyFolder
from mmts.tuning.space import SearchedConfig
from mmts.tuning.study import Study, storage_errors
from mmts.tuning.trials import Trials

_SECONDS_BETWEEN = 0.5
_SECONDS_TO_STOP = 30.0
"""For a worker to record that it was stopped."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done.

    num_trials: yet to be trained. until: when no further one begins, by the monotonic clock of
    this machine. runs: the folder of runs, for MLflow.
    """

    searched: SearchedConfig
    folder: StudyFolder
    num_trials: int
    until: float | None
    runs: Path
    parent_run_id: str | None


def train_trials(
    work: Work,
    num_workers: int,
    data: TrainingData,
    report: Callable[[int], None],
    watch: SignalWatch,
) -> None:
    """Train until all is done or the time is over.

    data: as this process has read them; several workers read their own.
    report: called with the number of each trial that has ended. watch: asked between trials.
    """
    num_workers = min(num_workers, work.num_trials)
    if num_workers <= 1:
        _train_here(work, _Tickets(work), data, report, watch)
    else:
        _Team(work, num_workers).run(report, watch)


class _Tickets:
    """How many trials may yet begin, in all processes together."""

    def __init__(self, work: Work) -> None:
        self.until = work.until
        self.left = multiprocessing.get_context("spawn").Value("l", work.num_trials)

    def take(self) -> bool:
        """Take one, unless there is none left or the time is over."""
        if self.until is not None and time.monotonic() >= self.until:
            return False
        with self.left.get_lock():
            self.left.value -= 1
            return bool(self.left.value >= 0)


def _train_here(
    work: Work,
    tickets: _Tickets,
    data: TrainingData | None,
    report: Callable[[int], None],
    watch: SignalWatch,
) -> None:
    database = work.folder.database
    with storage_errors(database), closing(Study(database, work.searched.tuning)) as study:
        trials = Trials(work.searched, work.folder, study, work.runs, work.parent_run_id, data)
        while tickets.take():
            report(trials.run_next())
            watch.check()


class _Team:
    """Several processes, each of which trains one trial after another."""

    def __init__(self, work: Work, num_workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        # Kept, as what processes share is gone with its owner.
        self.messages = context.Queue()
        self.tickets = _Tickets(work)
        threads = max(1, torch.get_num_threads() // num_workers)
        self.processes: list[SpawnProcess] = [
            context.Process(
                target=_work, args=(work, self.tickets, self.messages, threads), name=f"worker {n}"
            )
            for n in range(1, num_workers + 1)
        ]

    def run(self, report: Callable[[int], None], watch: SignalWatch) -> None:
        """Run to the end; raises what ended a worker, which ends all."""
        try:
            for process in self.processes:
                process.start()
            while any(process.is_alive() for process in self.processes):
                self._listen(report, _SECONDS_BETWEEN)
                watch.check()
            self._listen(report, 0.0)
            for process in self.processes:
                if process.exitcode:
                    raise TrainingError(_how_it_ended(process.name, process.exitcode))
        finally:
            self._stop()

    def _listen(self, report: Callable[[int], None], seconds: float) -> None:
        """Hear what the workers have to say, and wait so long for more."""
        while True:
            try:
                kind, content = self.messages.get(timeout=max(seconds, 0.01))
            except queue.Empty:
                return
            if kind == "log":
                log = logging.getLogger(content.name)
                # Which `handle` alone does not ask.
                if log.isEnabledFor(content.levelno):
                    log.handle(content)
            elif kind == "ended":
                report(content)
            else:
                raise content

    def _stop(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        until = time.monotonic() + _SECONDS_TO_STOP
        for process in self.processes:
            if process.pid is not None:
                process.join(max(0.0, until - time.monotonic()))
                process.kill()
                process.join()


def _how_it_ended(name: str, code: int) -> str:
    return (
        f"{name} {say_end(code)}, and said no more. If memory ran out, take fewer workers. The "
        "same command goes on with what is missing."
    )


def _work(work: Work, tickets: _Tickets, messages: Any, threads: int) -> None:
    """Train as one of several processes."""
    # The first process answers Ctrl-C for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    torch.set_num_threads(threads)
    log = logging.getLogger("mmts")
    log.handlers, log.propagate = [_ToFirst(messages)], False
    log.setLevel(logging.INFO)
    try:
        with SignalWatch() as watch:
            _train_here(work, tickets, None, lambda number: messages.put(("ended", number)), watch)
    except KeyboardInterrupt:
        # Nobody listens any more, unless this process alone was stopped, which its code tells.
        messages.cancel_join_thread()
        raise SystemExit(128 + signal.SIGTERM) from None
    except MmtsError as error:
        messages.put(("failed", error))
    except Exception as error:  # Our own bug: the first process shows it, and ends the study.
        text = f"{multiprocessing.current_process().name} failed:\n{traceback.format_exc()}"
        messages.put(("failed", RuntimeError(text)))
        raise SystemExit(1) from error


class _ToFirst(logging.handlers.QueueHandler):
    """Sends what is logged to the first process, which shows it, with the worker's name.

    Less the name what is said of the data: all workers say the same.
    """

    def __init__(self, messages: Any) -> None:
        super().__init__(messages)
        self.messages = messages

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        plain: logging.LogRecord = super().prepare(record)
        if not plain.name.startswith("mmts.data."):
            plain.msg = f"{multiprocessing.current_process().name}: {plain.msg}"
        return plain

    def enqueue(self, record: logging.LogRecord) -> None:
        self.messages.put(("log", record))
