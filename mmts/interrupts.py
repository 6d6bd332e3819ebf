"""Where signals that end a command have to wait, and what SIGTERM raises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """Ends a command on SIGTERM, as Ctrl-C does; it then ends with another code."""


class SigtermWatch:
    """Raises `Terminated` on SIGTERM, which would else end the process on the spot, for a block.

    Once: a second one does not break off what the first has begun to put in order. What is raised
    may be swallowed wherever the program happens to be, such as in a callback, so that a loop asks
    `check` as well. Outside of the main thread, and where something else answers SIGTERM, nothing
    is done.
    """

    def __init__(self) -> None:
        """Do nothing until it is entered."""
        self.noted = False
        self._listens = False

    def __enter__(self) -> SigtermWatch:
        """Answer the signal."""
        is_main = threading.current_thread() is threading.main_thread()
        self._listens = is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if self._listens:
            signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end the process again."""
        if self._listens:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def check(self) -> None:
        """Raise what was noted, and may have been swallowed."""
        if self.noted:
            raise Terminated

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_first, self.noted = not self.noted, True
        if is_first:
            raise Terminated


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM take effect at the end of a short block that would lose them.

    While pydantic writes a union it calls our functions, and takes whatever they raise as a sign
    that the value is of another kind; KeyboardInterrupt too.
    """
    # Only the main thread gets signals, and only a handler in Python raises.
    is_main = threading.current_thread() is threading.main_thread()
    answers = [(number, signal.getsignal(number)) for number in _SIGNALS if is_main]
    waiting: list[int] = []
    for number, answer in answers:
        if callable(answer):
            signal.signal(number, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for number, answer in answers:
            if callable(answer):
                signal.signal(number, answer)
        if waiting:
            signal.raise_signal(waiting[-1])
