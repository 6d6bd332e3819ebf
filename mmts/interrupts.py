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


class SignalWatch:
    """Notes Ctrl-C and SIGTERM for the length of a block, and raises them.

    SIGTERM would else end the process on the spot. It is raised once: a second one does not break
    off what the first has begun to put in order; a second Ctrl-C does. What is raised may be
    swallowed wherever the program happens to be, such as in a callback, so that a loop asks `check`
    as well. Outside of the main thread, and where something else answers a signal, nothing is done.
    """

    _PLAIN = ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))

    def __init__(self) -> None:
        """Do nothing until it is entered."""
        self.noted: int | None = None
        self._watched: list[signal.Signals] = []

    def __enter__(self) -> SignalWatch:
        """Answer the signals that nothing else answers."""
        if threading.current_thread() is threading.main_thread():
            self._watched = [n for n, plain in self._PLAIN if signal.getsignal(n) == plain]
        for number in self._watched:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave them as they were."""
        for number, plain in self._PLAIN:
            if number in self._watched:
                signal.signal(number, plain)

    def check(self) -> None:
        """Raise what was noted, and may have been swallowed."""
        if self.noted is not None:
            raise self._interrupt()

    def _interrupt(self) -> KeyboardInterrupt:
        return Terminated() if self.noted == signal.SIGTERM else KeyboardInterrupt()

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_first, self.noted = self.noted is None, number
        if is_first or number == signal.SIGINT:
            raise self._interrupt()


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
