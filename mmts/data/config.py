"""Settings of the data: which streams there are, what they hold and where they are cut."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mmts.config_base import Config, Cut, Duration, Length

StreamName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Role = Literal["target", "past", "future", "static"]
Columns = tuple[str, ...]


class StreamConfig(Config):
    """One table with its own clock.

    A column has one role (target, past, future or static). When no role is named at all, every
    column except the time and the item is past.
    """

    path: str = Field(description="CSV file, relative to data.root.")
    time: str | None = Field(None, description="Column with the timestamps; none if static.")
    item: str | None = Field(
        None, description="Column that tells items apart; without it the stream serves all items."
    )
    target: Columns = Field((), description="Columns to forecast.")
    past: Columns = Field((), description="Columns known up to the origin.")
    future: Columns = Field((), description="Columns known over the horizon as well.")
    static: Columns = Field((), description="Columns that hold one value per item.")
    category: Columns = Field(
        (), description="Columns whose values are names, not numbers (past, unless listed above)."
    )
    context_length: Length | None = Field(
        None,
        description="How much is read before the origin: a duration or a number of steps. "
        "By default the target stream's, and for that one seven horizons.",
    )
    frequency: Duration | None = Field(
        None, gt=timedelta(), description="Time from row to row; found in the file when not given."
    )
    stamp: Literal["start", "end", "event"] = Field(
        "start",
        description="What a timestamp marks: the start or the end of the period that a row "
        "describes, or the instant of an event.",
    )
    delay: Duration = Field(
        timedelta(), description="How long after its period a row becomes available."
    )
    known_ahead: Duration | None = Field(
        None, description="How long before its timestamp a future value is known; null: always."
    )
    missing_values: tuple[str | int | float, ...] = Field(
        (), description="Cell contents that mean 'no value', besides the empty cell."
    )
    duplicates: Literal["error", "mean", "first", "last"] = Field(
        "error", description="What to do with rows of one item that share a timestamp."
    )

    def roles(self) -> Iterator[tuple[str, Role]]:
        """Yield every column that is named with a role."""
        for column in self.target:
            yield column, "target"
        for column in self.past:
            yield column, "past"
        for column in self.future:
            yield column, "future"
        for column in self.static:
            yield column, "static"

    @property
    def is_static(self) -> bool:
        """Whether the stream has no clock."""
        return bool(self.static)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        named = [column for column, _ in self.roles()]
        for column in sorted({column for column in named if named.count(column) > 1}):
            problems.append(f"column {column!r} has more than one role; list it once")
        keys = {self.time, self.item} & {*named, *self.category}
        problems += [
            f"column {key!r} is the time or item and can hold no values" for key in keys if key
        ]
        if self.static and len(named) > len(self.static):
            problems.append("a static stream holds nothing but static columns; split the table")
        if self.static and self.time is not None:
            problems.append("a static stream has no time; take out 'time'")
        if self.static and self.item is None:
            problems.append("a static stream needs 'item', the column that names the item")
        if not self.static and self.time is None:
            problems.append("'time' is missing: name the column that holds the timestamps")
        if self.known_ahead is not None and not self.future:
            problems.append("'known_ahead' speaks of future columns, and none is listed")
        if self.stamp == "event" and self.target:
            problems.append("a target stands on a grid and can be no event; stamp its start or end")
        if self.stamp == "event" and self.frequency is not None:
            problems.append("events stand on no grid; take out 'frequency', or 'stamp: event'")
        if set(self.category) & set(self.target):
            problems.append("a target must be a number; take it out of 'category'")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class SplitConfig(Config):
    """Where validation and test begin, in time.

    Each is a time, a fraction of the target stream's rows, or a count of them. Windows whose
    horizon crosses a cut belong to neither side.
    """

    validation: Cut = Field(0.7, description="Begin of the validation split.")
    test: Cut = Field(0.85, description="Begin of the test split.")
    end: Cut | None = Field(None, description="End of the test split; by default the last row.")


class DataConfig(Config):
    """All streams, the horizon and the split."""

    root: str = Field("", description="Folder of the files; by default that of the config file.")
    horizon: Length = Field(description="How far to forecast: a duration or a number of steps.")
    frequency: Duration | None = Field(
        None,
        gt=timedelta(),
        description="Grid of origins and forecast steps; by default that of the target stream.",
    )
    streams: dict[StreamName, StreamConfig] = Field(min_length=1)
    split: SplitConfig = SplitConfig()
    exclude_items: tuple[str, ...] = Field((), description="Items to leave out.")

    @property
    def target_stream(self) -> str:
        """Name of the stream that holds the target."""
        return next(name for name, stream in self.streams.items() if stream.target)

    @model_validator(mode="after")
    def _check(self) -> Self:
        targets = [name for name, stream in self.streams.items() if stream.target]
        if not targets:
            raise ValueError("no stream has a target; list the columns to forecast as 'target'")
        if len(targets) > 1:
            raise ValueError(
                f"streams {', '.join(targets)} all have targets; one stream holds the targets"
            )
        return self
