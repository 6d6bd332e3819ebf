"""The further processes of a training that one process began."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType

from mmts.child_processes import end_with_parent, say_end
from mmts.config import ExperimentConfig
from mmts.errors import MmtsError, TrainingError
from mmts.training.joining import joined, meet_here
from mmts.training.processes import Processes, muted

_SECONDS_TO_REPORT = 5.0
"""For a process to say why it failed, after another has noticed that it is gone."""
_SECONDS_TO_NOTICE = 60.0
"""For the first process to notice that another has failed."""
_SECONDS_TO_END = 60.0
"""For the last process to end, after the first one has."""

logger = logging.getLogger(__name__)


class Team:
    """Starts the other processes, and ends them.

    They are new processes, started as multiprocessing does it, that build the same model on the
    same data. Whatever ends one of them ends all.
    """

    def __init__(
        self, config: ExperimentConfig, processes: Processes, resumed: Path | None
    ) -> None:
        """Make ready; nothing is started for one process, nor where torchrun started all.

        resumed: the run folder in which an earlier training wrote down where it was.
        """
        self.config = config
        self.resumed = resumed
        self.processes = processes
        self.others: list[_Other] = []
        self.ends = threading.Event()

    def __enter__(self) -> Team:
        """Start the other processes, which take seconds to be ready."""
        if self.processes.count > 1 and not self.processes.by_torchrun:
            # Takes a port that is free, and is there before anyone asks for it.
            self.store = meet_here(self.processes)
            for rank in range(1, self.processes.count):
                theirs = replace(self.processes, rank=rank, local_rank=rank)
                self.others.append(_Other(self.config, theirs, self.store.port, self.resumed))
        return self

    @contextmanager
    def together(self, if_it_hangs: Callable[[], None]) -> Iterator[None]:
        """Join all processes, once they are ready; raises what keeps one of them from it.

        if_it_hangs: called before this process is ended, where it waits for one that is gone.
        """
        if not self.others:
            yield
            return
        for other in self.others:
            failure = other.hear()
            if failure is not None:
                raise failure[1]
        watch = threading.Thread(target=self._watch, args=(if_it_hangs,), daemon=True)
        watch.start()
        with joined(self.config, self.processes, self.store):
            try:
                yield
            finally:
                # From here on this process needs none of the others.
                self.ends.set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes; raises what ended another one, where this one failed because of it."""
        self.ends.set()
        try:
            if error is None:
                self._wait_for_the_end()
            elif isinstance(error, Exception) and not isinstance(error, MmtsError):
                reason = self._first_failure()
                if reason is not None:
                    raise reason from error
        finally:
            for other in self.others:
                # Without mercy, as they have nothing to lose and may wait for one that is gone.
                other.process.kill()
                other.process.join()

    def _first_failure(self) -> Exception | None:
        """Return what ended another process before this one."""
        if not wait([other.messages for other in self.others], _SECONDS_TO_REPORT):
            return None
        # What came first is the reason for the rest.
        time.sleep(0.5)
        heard = [other.hear() for other in self.others if other.messages.poll()]
        failures = sorted((f for f in heard if f is not None), key=lambda failure: failure[0])
        return failures[0][1] if failures else None

    def _wait_for_the_end(self) -> None:
        until = time.monotonic() + _SECONDS_TO_END
        for other in self.others:
            other.process.join(max(0.0, until - time.monotonic()))
            if other.process.exitcode != 0:
                logger.warning("%s did not end by itself, after the training", other.name)

    def _watch(self, if_it_hangs: Callable[[], None]) -> None:
        """Where this process waits on the device for one that is gone, nothing would wake it."""
        waiting = list(self.others)
        while waiting:
            # Not asked how it ended before this process had time to ask that itself: the system
            # tells but one of two threads.
            ended = wait([other.process.sentinel for other in waiting])
            if self.ends.wait(_SECONDS_TO_NOTICE):
                return
            if any(other.process.exitcode for other in waiting if other.process.sentinel in ended):
                reason = self._first_failure()
                logger.error("the training ends, as another process has failed: %s", reason)
                if_it_hangs()
                os._exit(1)
            waiting = [other for other in waiting if other.process.sentinel not in ended]


class _Other:
    """One of the other processes, as the first one sees it."""

    def __init__(
        self, config: ExperimentConfig, processes: Processes, port: int, resumed: Path | None
    ) -> None:
        self.name = f"process {processes.rank + 1} of {processes.count}"
        context = multiprocessing.get_context("spawn")
        self.messages, messages = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_follow,
            args=(config, processes, port, resumed, messages, self.name),
            daemon=True,
        )
        self.process.start()
        messages.close()

    def hear(self) -> tuple[float, Exception] | None:
        """Wait for what it says next: when it failed and of what, or None when all is well."""
        try:
            message: tuple[float, Exception] | None = self.messages.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode or 0
            if code == 0:
                return None
            # Nothing that we do ends it so; what others report, they report because of it.
            return -1.0, TrainingError(
                f"training.devices: {self.name} {say_end(code)}, and said no more. If memory ran "
                "out, take fewer devices. A script that calls train() has to do so under "
                "`if __name__ == '__main__':`, as its other processes import it."
            )
        return message


def _follow(
    config: ExperimentConfig,
    processes: Processes,
    port: int,
    resumed: Path | None,
    messages: Connection,
    name: str,
) -> None:
    """Train as one of the other processes; nothing is written, logged or drawn."""
    # The first process answers Ctrl-C for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    # The first process shows the same.
    warnings.simplefilter("ignore")
    try:
        with muted():
            # Heavy, and not needed by the first process when it imports this file.
            from mmts.training.fitting import follow
            from mmts.training.state import read_state

            kept = None if resumed is None else read_state(resumed)

            def join() -> AbstractContextManager[None]:
                store = meet_here(processes, port)
                messages.send(None)
                return joined(config, processes, store)

            follow(config, processes, kept, join)
    except MmtsError as error:
        messages.send((time.time(), error))
        raise SystemExit(1) from error
    except BaseException as error:
        text = f"{name} failed:\n{traceback.format_exc()}"
        messages.send((time.time(), RuntimeError(text)))
        raise SystemExit(1) from error
