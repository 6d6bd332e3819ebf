"""What was said in the log while data were read, so that it can be said again from a cache."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

_LOGGER = logging.getLogger("mmts.data")


class Spoken(logging.Handler):
    """Listens to the log of this folder inside a `with` block, whatever of it is shown.

    messages: level and text of each, from INFO on.
    """

    def __init__(self, messages: Iterable[tuple[int, str]] = ()) -> None:
        super().__init__(logging.INFO)
        self.messages = [(int(level), text) for level, text in messages]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.messages.append((record.levelno, record.getMessage()))

    def __enter__(self) -> Self:
        """Have everything from INFO on said, and show no more of it than before."""
        _valve.enter()
        _LOGGER.addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the log as it was."""
        _LOGGER.removeHandler(self)
        _valve.leave()

    def repeat(self) -> None:
        """Say everything once more: nothing is repaired in silence, the second time either."""
        for level, text in self.messages:
            _LOGGER.getChild("cache").log(level, "%s", text)


class _Valve(logging.Handler):
    """Passes on what would have been shown, while more is said than that.

    Blocks may lie within each other, and threads be in blocks of their own: the first one sets it,
    and the last one takes it out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counting = threading.Lock()
        self._count = 0
        self._before = (logging.NOTSET, True)

    def enter(self) -> None:
        """Begin a block."""
        with self._counting:
            self._count += 1
            if self._count == 1:
                self._before = (_LOGGER.level, _LOGGER.propagate)
                self.setLevel(_LOGGER.getEffectiveLevel())
                _LOGGER.setLevel(min(self.level, logging.INFO))
                _LOGGER.propagate = False
                _LOGGER.addHandler(self)

    def leave(self) -> None:
        """End a block."""
        with self._counting:
            self._count -= 1
            if self._count == 0:
                _LOGGER.removeHandler(self)
                level, _LOGGER.propagate = self._before
                _LOGGER.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a message to whatever listens above."""
        _, propagates = self._before
        if propagates and _LOGGER.parent is not None:
            _LOGGER.parent.handle(record)


_valve = _Valve()
