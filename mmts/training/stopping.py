"""Ctrl-C and SIGTERM: noted, and answered where a training can go on from."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from mmts.interrupts import Terminated
from mmts.training.processes import Processes

_SECONDS_TO_FOLLOW = 20.0
"""For a process that is not the first to end of itself; torchrun kills it after thirty."""


class Stopped(BaseException):
    """Ends the training loop; Lightning answers KeyboardInterrupt in a way of its own."""


class StopSignals:
    """Notes Ctrl-C and SIGTERM for the length of a training.

    An exception that is raised wherever the program happens to be may be lost: a callback of
    Python, torch or pydantic prints or swallows what is raised in it. What is noted stays. While
    the loop runs it looks at the note between two steps, so that it ends where it can go on from;
    a second signal does not wait for that. Outside of the loop a signal is raised at once, and
    once more by `check` where that was swallowed.

    Where several processes train, a terminal, torchrun or a cluster sends the signal to all of
    them. The first one then keeps where they are at the end of a round, to which it needs the
    others: they end once it has gone.
    """

    def __init__(self, processes: Processes) -> None:
        """Do nothing until it is entered; only the main thread listens."""
        self.noted: int | None = None
        self._waits = False
        self._end: threading.Timer | None = None
        self._is_first = processes.is_first
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Take the place of whatever answers the signals, but where they are ignored."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN and before is not None:
                    self._before[number] = before
            self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what answered the signals before."""
        if self._end is not None:
            self._end.cancel()
        for number, before in self._before.items():
            signal.signal(number, before)

    def listen(self) -> None:
        """Take the place of whatever else answers them now, such as Lightning.

        Lightning answers SIGTERM by asking the other processes, in the middle of whatever they
        share just then.
        """
        for number in self._before:
            signal.signal(number, self._note if self._is_first else self._note_and_follow)

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Only note the first signal, in a block that looks at `noted` itself."""
        self.check()
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def check(self) -> None:
        """Raise what was noted, and may have been swallowed."""
        if self.noted is not None:
            raise self.interrupt()

    def interrupt(self) -> KeyboardInterrupt:
        """Return what ends the training for whoever called it."""
        return Terminated() if self.noted == signal.SIGTERM else KeyboardInterrupt()

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_second, self.noted = self.noted is not None, number
        if is_second or not self._waits:
            raise self.interrupt()

    def _note_and_follow(self, number: int, frame: FrameType | None) -> None:
        """Go on until the first process has gone, which fails what is shared with it."""
        is_second, self.noted = self.noted is not None, number
        if is_second:
            raise self.interrupt()
        # Where this process alone was meant, nothing else would end it.
        self._end = threading.Timer(_SECONDS_TO_FOLLOW, os._exit, [128 + number])
        self._end.daemon = True
        self._end.start()
