"""Something unusual about the data: where it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmts.data.schema import DataSchema
from mmts.data.streams import Stream
from mmts.data.times import format_times


@dataclass(frozen=True)
class Finding:
    """One sentence about one stream or column; nothing was repaired.

    kind: what it is, in a word or two, for programs.
    """

    kind: str
    stream: str
    column: str | None
    text: str

    def __str__(self) -> str:
        column = "" if self.column is None else f", column {self.column!r}"
        return f"stream {self.stream!r}{column}: {self.text}"


def say_stamp(schema: DataSchema, stream: Stream, start: int) -> str:
    """Write the timestamp of the row that begins so, as the user stamps rows."""
    stamp = stream.schema.stamps(torch.tensor([start])).numpy()
    return str(format_times(stamp, schema.has_time_zone, schema.time_zone)[0])


def say_count(number: int, word: str) -> str:
    """Write a number of things, such as `1 row` or `2,304 rows`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def say_listing(names: list[str]) -> str:
    """Write a few names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
