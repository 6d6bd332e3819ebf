"""What was said in the log while data were read, so that it can be said again from a cache."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Self

_LOGGER = "mmts.data"


class Spoken(logging.Handler):
    """Listens to the log of this folder inside a `with` block.

    messages: level and text of each.
    """

    def __init__(self, messages: Iterable[tuple[int, str]] = ()) -> None:
        super().__init__(logging.INFO)
        self.messages = [(int(level), text) for level, text in messages]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.messages.append((record.levelno, record.getMessage()))

    def __enter__(self) -> Self:
        logging.getLogger(_LOGGER).addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        logging.getLogger(_LOGGER).removeHandler(self)

    def repeat(self) -> None:
        """Say everything once more: nothing is repaired in silence, the second time either."""
        for level, text in self.messages:
            logging.getLogger(f"{_LOGGER}.cache").log(level, "%s", text)
