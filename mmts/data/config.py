"""Settings of the data: which streams there are, what they hold and where they are cut."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mmts.config_base import Config, Cut, Duration, Length, Period, TimeZone
from mmts.data.text.config import TextConfig, TfidfConfig

StreamName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Role = Literal["target", "past", "future", "static"]
ColumnType = Literal["number", "category", "flag", "text"]
ItemFrom = Literal["column", "file_name", "folder_name"]
Columns = tuple[str, ...]
HOLIDAYS = r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$"
MAX_BUCKETS = 1_000_000
CalendarFeature = Literal[
    "hour", "weekday", "day", "week", "month", "time_of_day", "time_of_year", "holiday"
]


class ReadingConfig(Config):
    """How the cells of one file are to be read; what is not given is the usual CSV."""

    encoding: str | None = Field(
        None, description="Character encoding; by default UTF-8, or what a byte order mark tells."
    )
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="What stands between cells; found in the header when not given.",
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal mark.")
    thousands: Literal[",", ".", " ", "'", "_"] | None = Field(
        None, description="What stands between groups of three digits."
    )
    time_format: str | None = Field(
        None,
        description="How times are written, such as '%d.%m.%Y %H:%M', or unix_s, unix_ms, unix_us; "
        "by default ISO 8601, or the year first with other marks between.",
    )
    time_zone: TimeZone | None = Field(
        None,
        description="Zone, such as Europe/Berlin, of times that state no UTC offset; "
        "by default data.time_zone.",
    )
    missing_values: tuple[str | int | float, ...] = Field(
        (), description="Cell contents that mean 'no value', besides the empty cell."
    )
    valid_range: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict,
        description="Least and greatest value of a column; what lies outside is missing.",
    )
    duplicates: Literal["error", "mean", "first", "last"] = Field(
        "error", description="What to do with rows of one item that share a timestamp."
    )


class StreamConfig(ReadingConfig):
    """One table with its own clock, or features of the calendar.

    A column has one role (target, past, future or static). When no role is named at all, every
    column except time, item and availability is past; where prose is named, it alone is.
    """

    path: str | None = Field(
        None,
        description="CSV or Parquet file, relative to data.root; a folder (sensors/) or a pattern "
        "(sensors/*.csv) for several.",
    )
    time: str | None = Field(None, description="Column with the timestamps; none if static.")
    item: str | None = Field(
        None, description="Column that tells items apart; without it the stream serves all items."
    )
    item_from: ItemFrom = Field(
        "column",
        description="What names the items: the column `item`, or each file's own name or folder.",
    )
    target: Columns = Field((), description="Columns to forecast.")
    past: Columns = Field((), description="Columns known up to the origin.")
    future: Columns = Field((), description="Columns known over the horizon as well.")
    static: Columns = Field((), description="Columns that hold one value per item.")
    category: Columns = Field(
        (), description="Columns whose values are names, not numbers (past, unless listed above)."
    )
    flag: Columns = Field(
        (), description="Columns of yes and no: true/false, yes/no, on/off, 1/0 (past, likewise)."
    )
    text: Columns = Field((), description="Columns that hold prose (past, likewise).")
    text_features: TextConfig = Field(
        TfidfConfig(), description="How prose becomes numbers; of use where `text` is."
    )
    hash_buckets: dict[str, Annotated[int, Field(gt=1, le=MAX_BUCKETS)]] = Field(
        default_factory=dict,
        description="Categories with very many names: into how many places they are hashed.",
    )
    calendar: tuple[CalendarFeature, ...] = Field(
        (), description="Features of the calendar, made up on the target's clock; needs no file."
    )
    holidays: str | None = Field(
        None,
        pattern=HOLIDAYS,
        description="Country, and perhaps its part, whose holidays count, such as US or DE-BY.",
    )
    context_length: Length | None = Field(
        None,
        description="How much is read before the origin: a duration or a number of steps. "
        "By default the target stream's, and for that one seven horizons.",
    )
    frequency: Period | None = Field(
        None, description="Time from row to row; found in the file when not given."
    )
    stamp: Literal["start", "end", "event"] | None = Field(
        None,
        description="What a timestamp marks: the start or the end of the period that a row "
        "describes, or the instant of an event. By default the start, and for rows of nothing but "
        "text that stand on no grid an event.",
    )
    delay: Duration = Field(
        timedelta(),
        description="How long after its period a row becomes available.",
        # pydantic would write it as ISO 8601 does, which is refused here.
        json_schema_extra={"default": "0s"},
    )
    available_at: str | None = Field(
        None,
        description="Column that tells when each row became available (plus `delay`); a date "
        "without a time of day counts from its end.",
    )
    known_ahead: Duration | None = Field(
        None, description="How long before its timestamp a future value is known; null: always."
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

    def type_of(self, column: str) -> ColumnType:
        """Return what a column holds."""
        types: tuple[tuple[Columns, ColumnType], ...] = (
            (self.category, "category"), (self.flag, "flag"), (self.text, "text")
        )  # fmt: skip
        return next((kind for columns, kind in types if column in columns), "number")

    @property
    def is_static(self) -> bool:
        """Whether the stream has no clock."""
        return bool(self.static)

    @property
    def has_items(self) -> bool:
        """Whether rows belong to items; else they serve all of them."""
        return self.item is not None or self.item_from != "column"

    @property
    def keys(self) -> Columns:
        """Columns that say whose a row is and when, and hold no values."""
        return tuple(c for c in (self.time, self.item, self.available_at) if c is not None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = list(self._faults_of_calendar() if self.calendar else self._faults_of_table())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _faults_of_calendar(self) -> Iterator[str]:
        allowed = {"calendar", "holidays", "context_length", "time_zone"}
        # Held against the defaults: a resolved config states every key.
        others = [
            name
            for name, field in type(self).model_fields.items()
            if name not in allowed
            and getattr(self, name) != field.get_default(call_default_factory=True)
        ]
        if others:
            yield (
                f"a stream of calendar features is made up and reads no file; take out "
                f"{', '.join(others)}"
            )
        if ("holiday" in self.calendar) != (self.holidays is not None):
            yield "'holiday' and 'holidays' go together; name the country, such as holidays: US"
        if len(set(self.calendar)) < len(self.calendar):
            yield "a calendar feature is listed twice; list it once"

    def _faults_of_table(self) -> Iterator[str]:
        named = [column for column, _ in self.roles()]
        typed = [*self.category, *self.flag, *self.text]
        if self.path is None:
            yield "'path' is missing: name the file"
        if self.holidays is not None:
            yield "'holidays' belongs to a stream of calendar features; take it out"
        for column in sorted({column for column in named if named.count(column) > 1}):
            yield f"column {column!r} has more than one role; list it once"
        for column in sorted({column for column in typed if typed.count(column) > 1}):
            yield f"column {column!r} has more than one type; list it once"
        for key in self.keys:
            if key in {*named, *typed}:
                yield f"column {key!r} is the time, item or availability and can hold no values"
        if self.item is not None and self.item_from != "column":
            yield "the item is named by a column and by the file; take out 'item' or 'item_from'"
        if len(set(self.keys)) < len(self.keys):
            yield "'time', 'item' and 'available_at' name one column twice; each needs its own"
        if self.static and len({*named, *typed}) > len(self.static):
            yield "a static stream holds nothing but static columns; split the table"
        if self.static and self.time is not None:
            yield "a static stream has no time; take out 'time'"
        if self.static and self.available_at is not None:
            yield "a static stream is always available; take out 'available_at'"
        if self.static and not self.has_items:
            yield "a static stream needs 'item', the column that names the item"
        if not self.static and self.time is None:
            yield "'time' is missing: name the column that holds the timestamps"
        if self.known_ahead is not None and not self.future:
            yield "'known_ahead' speaks of future columns, and none is listed"
        if self.known_ahead is not None and self.available_at is not None:
            yield "'known_ahead' and 'available_at' both say when rows are known; keep one"
        if self.stamp == "event" and self.target:
            yield "a target stands on a grid and can be no event; stamp its start or end"
        if self.stamp == "event" and self.frequency is not None:
            yield "events stand on no grid; take out 'frequency', or 'stamp: event'"
        if set(typed) & set(self.target):
            yield "a target must be a number; take it out of 'category', 'flag' and 'text'"
        for column in self.hash_buckets:
            if column not in self.category:
                yield f"'hash_buckets' names {column!r}, which is no category; list it there too"
        for column, (low, high) in self.valid_range.items():
            if column in typed:
                yield f"'valid_range' names {column!r}, which holds no numbers; take it out"
            if low is not None and high is not None and low > high:
                yield f"'valid_range' of {column!r} is empty; the least value comes first"
        if self.thousands == self.decimal:
            other = "," if self.decimal == "." else "."
            yield (
                f"'thousands' and 'decimal' are both {self.decimal!r}; they must differ. Where "
                f"decimal is {self.decimal!r}, set thousands: {other!r} or take it out"
            )


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
    frequency: Period | None = Field(
        None,
        description="Grid of origins and forecast steps; by default that of the target stream.",
    )
    time_zone: TimeZone | None = Field(
        None,
        description="Zone, such as Europe/Berlin, of times that state no UTC offset, of the "
        "calendar, and of days and months.",
    )
    streams: dict[StreamName, StreamConfig] = Field(min_length=1)
    split: SplitConfig = SplitConfig()
    exclude_items: tuple[str, ...] = Field((), description="Items to leave out.")
    cache: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether parsed files are kept as memory maps, for streams larger than memory "
        "and a faster start; auto: those of streams with more than 64 MB, where a packed file "
        "(.gz, .bz2, .xz, .zip) counts six times.",
    )
    cache_folder: str = Field(
        "~/.cache/mmts", description="Where they are kept; may be deleted at any time."
    )

    def with_usual_cache(self) -> Self:
        """Return it with a cache where that is by default.

        Where files are kept here is not for a checkpoint to say, which may be a stranger's.
        """
        fields = type(self).model_fields
        usual = {name: fields[name].default for name in ("cache", "cache_folder")}
        return self.model_copy(update=usual)

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
