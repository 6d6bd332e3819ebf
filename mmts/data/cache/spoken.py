"""What was said in the log while data were read, so that it can be said again from a cache."""

from __future__ import annotations

import logging
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
        """Keep one message, and pass on what would have been shown."""
        self.messages.append((record.levelno, record.getMessage()))
        if self._passes_on and record.levelno >= self._shown_from:
            assert _LOGGER.parent is not None
            _LOGGER.parent.handle(record)

    def __enter__(self) -> Self:
        """Have everything from INFO on said, and show no more of it than before."""
        self._before = _LOGGER.level
        self._shown_from = _LOGGER.getEffectiveLevel()
        # Within another block that one does so.
        self._passes_on = _LOGGER.propagate
        _LOGGER.setLevel(min(self._shown_from, logging.INFO))
        _LOGGER.propagate = False
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
        _LOGGER.setLevel(self._before)
        _LOGGER.propagate = self._passes_on

    def repeat(self) -> None:
        """Say everything once more: nothing is repaired in silence, the second time either."""
        for level, text in self.messages:
            _LOGGER.getChild("cache").log(level, "%s", text)
