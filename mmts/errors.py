"""Errors that a user can act on.

Each says what is wrong, where, and what to do. The commands print the message without a
traceback and end with exit code 2; anything else that is raised is our own bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MmtsError(Exception):
    """An error in what the user gave; its message is complete by itself."""


class ConfigError(MmtsError):
    """A fault in a config file or in a `--set` override."""


class KindError(MmtsError):
    """A kind of the user's own that cannot be had, or cannot be used."""


class DataError(MmtsError):
    """A fault in the streams: a file, a column, a value, a clock."""


class CheckpointError(MmtsError):
    """A file that is not a checkpoint, or one that does not fit the data it is given."""


class OutputError(MmtsError):
    """A place that cannot be written to, or that already holds something."""


class CacheError(OutputError):
    """A cache that cannot be used; whatever it would keep can be made without it."""


class TrainingError(MmtsError):
    """A training that cannot go on."""


class RunError(MmtsError):
    """A folder that is not that of a run, or a file in it that cannot be read."""


class TrackingError(MmtsError):
    """A store of the experiments that cannot be shown."""


MOST_TOLD = 100
"""Faults that one message lists; nobody reads the rest of a file that is no such file."""


def shortened(text: str, longest: int = 600) -> str:
    """Leave out the middle of what repeats a value that fills pages."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} [...] {text[-half:]}"


def raise_all(kind: type[MmtsError], problems: Iterable[str]) -> None:
    """Raise one error that lists every problem, up to a page of them; return without any."""
    # Two streams of one file have the same to say.
    found = list(dict.fromkeys(problems))
    if len(found) > MOST_TOLD:
        found[MOST_TOLD:] = [f"... and {len(found) - MOST_TOLD} more such faults."]
    if found:
        raise kind("\n".join(found))


def nearest(word: str, known: Iterable[str], otherwise: str = ".") -> str:
    """End a message with a hint such as `; did you mean 'delay'?` when a known word is near.

    otherwise: the end of the message when none is.
    """
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else otherwise


def first_line(error: Exception) -> str:
    """Return what an error of another library says first, to stand within a sentence."""
    return str(error).strip().split("\n")[0].rstrip(".")
