"""What the streams of an experiment hold, as found in the files: stored in the checkpoint."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field

from mmts.config_base import Config
from mmts.data.config import Role


class ColumnSchema(Config):
    """One column: where it stands in `values` is its place in the stream's list."""

    name: str
    role: Role
    type: Literal["number", "category"]


class StreamSchema(Config):
    """The fixed facts about one stream; times are integers, in microseconds.

    period: time from row to row; 0 for a stream of irregular events, or a static one.
    cover: how long a period each row describes; 0 for events. A row stamped t (moved to the
        start of its period) describes [t, t + cover) and is known at t + cover + delay.
    context_steps, future_steps: rows that a window holds before and from its anchor on.
    """

    columns: tuple[ColumnSchema, ...]
    time: str | None
    item: str | None
    stamp: Literal["start", "end", "event"]
    period: int = Field(ge=0)
    cover: int = Field(ge=0)
    delay: int
    known_ahead: int | None
    context_steps: int = Field(gt=0)
    context_span: int = Field(ge=0)
    future_steps: int = Field(ge=0)

    @property
    def is_static(self) -> bool:
        """Whether the stream holds one ageless row per item."""
        return self.time is None

    @property
    def is_regular(self) -> bool:
        """Whether rows stand on a grid of `period`."""
        return self.period > 0

    @property
    def num_steps(self) -> int:
        """Rows in a window."""
        return self.context_steps + self.future_steps

    @property
    def lag(self) -> int:
        """Time from the start of a row's period until the row is known."""
        return self.cover + self.delay

    def channels(self, *roles: Role) -> list[int]:
        """Return the places of the columns that have one of these roles."""
        return [i for i, column in enumerate(self.columns) if column.role in roles]

    @cached_property
    def has_future(self) -> bool:
        """Whether some column is known over the horizon."""
        return bool(self.channels("future"))


class DataSchema(Config):
    """The streams and the forecast grid; `frequency` in microseconds."""

    streams: dict[str, StreamSchema]
    target_stream: str
    horizon: int = Field(gt=0)
    frequency: int = Field(gt=0)
    has_time_zone: bool

    @property
    def target(self) -> StreamSchema:
        """The schema of the stream that holds the target."""
        return self.streams[self.target_stream]

    @property
    def target_columns(self) -> tuple[str, ...]:
        """Names of the columns to forecast."""
        return tuple(column.name for column in self.target.columns if column.role == "target")
