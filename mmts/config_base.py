"""What all settings share: frozen models that refuse unknown keys, and durations in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "min": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_TERM = re.compile(r"(\d+(?:\.\d+)?)\s*(w|d|h|min|s)")
# No two parts of it take the same blanks, or one cell could be read in ever more ways.
_DURATION = re.compile(r"\s*(?:\d+(?:\.\d+)?\s*(?:w|d|h|min|s)\s*)+")
_MONTHS = re.compile(r"\s*(\d+)\s*(mo|y)\s*")

_MOST_MONTHS = 12 * 1000
_LONGEST = timedelta(days=365 * 1000)

MONTH = timedelta(days=365.2425) / 12
"""What a month counts as where months are held against a fixed length of time."""


class Config(BaseModel):
    """A frozen group of settings; an unknown key is an error, not an extra."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


def default_kind(kind: str) -> BeforeValidator:
    """Let a group of settings leave its kind out, as the whole group may be left out."""

    def name_kind(value: Any) -> Any:
        return {"kind": kind, **value} if isinstance(value, dict) else value

    return BeforeValidator(name_kind)


@dataclass(frozen=True)
class Months:
    """A number of calendar months, written as `1mo`, `3mo` or `1y`: no fixed length of time."""

    count: int

    def __str__(self) -> str:
        years, months = divmod(self.count, 12)
        return f"{self.count}mo" if months else f"{years}y"

    def as_duration(self) -> timedelta:
        """Return how long so many months are in the mean."""
        return self.count * MONTH


def parse_months(text: str) -> Months | None:
    """Read `1mo` or `2y`; None when the text is no number of months."""
    match = _MONTHS.fullmatch(text)
    count = 0 if match is None else int(match[1]) * (12 if match[2] == "y" else 1)
    return Months(count) if 0 < count <= _MOST_MONTHS else None


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `15min`, `24h`, `7d` or `1d12h`.

    Raises ValueError when the text is not one.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration")
    try:
        found = sum((float(n) * _UNITS[unit] for n, unit in _TERM.findall(text)), timedelta())
    except OverflowError:
        found = timedelta.max
    if found > _LONGEST:
        raise ValueError(f"{text!r} is not a duration that fits")
    return found


def format_duration(duration: timedelta) -> str:
    """Write a duration in the largest unit that divides it, such as `36h`."""
    for unit, size in _UNITS.items():
        if duration and duration % size == timedelta():
            return f"{duration // size}{unit}"
    return f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def microseconds(duration: timedelta) -> int:
    """Return the duration as the integer unit in which all times are kept."""
    return duration // timedelta(microseconds=1)


def _to_duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError:
            pass
    if value == 0 and not isinstance(value, bool):
        return timedelta()
    raise PydanticCustomError(
        "duration",
        "{value} is not a duration; write one such as 15min, 24h or 7d",
        {"value": repr(value)},
    )


def _to_period(value: Any) -> timedelta | Months:
    months = value if isinstance(value, Months) else None
    if isinstance(value, str):
        months = parse_months(value)
    if months is not None:
        return months
    try:
        duration = _to_duration(value)
    except PydanticCustomError:
        duration = timedelta()
    if duration > timedelta():
        return duration
    raise PydanticCustomError(
        "period",
        "{value} is not the time from row to row; write one such as 15min, 1d, 7d or 1mo",
        {"value": repr(value)},
    )


def _to_length(value: Any) -> timedelta | Months | int:
    if isinstance(value, Months):
        return value
    if isinstance(value, str) and (months := parse_months(value)) is not None:
        return months
    if isinstance(value, int) and not isinstance(value, bool):
        if value > 0:
            return value
    else:
        try:
            duration = _to_duration(value)
        except PydanticCustomError:
            pass
        else:
            if duration > timedelta():
                return duration
    raise PydanticCustomError(
        "length",
        "{value} is not a length; write a duration such as 24h or 7d, or a number of steps",
        {"value": repr(value)},
    )


def _to_cut(value: Any) -> datetime | float | int:
    if isinstance(value, bool):
        pass
    elif isinstance(value, datetime):
        return value
    elif isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    elif (isinstance(value, int) and value > 0) or (
        isinstance(value, float) and 0.0 < value <= 1.0
    ):
        return value
    elif isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError(
        "cut",
        "{value} is not a place to cut; write a time such as 2013-10-01, a fraction such as 0.8, "
        "or a number of rows",
        {"value": repr(value)},
    )


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise PydanticCustomError(
            "time_zone",
            "{name} is no time zone that is known here; write one such as Europe/Berlin or UTC",
            {"name": repr(name)},
        ) from None
    return name


def _from_cut(cut: datetime | float | int) -> str | float | int:
    return cut.isoformat() if isinstance(cut, datetime) else cut


def format_period(period: timedelta | Months) -> str:
    """Write a period such as `15min` or `1mo`."""
    return str(period) if isinstance(period, Months) else format_duration(period)


def _from_length(length: timedelta | Months | int) -> str | int:
    return length if isinstance(length, int) else format_period(length)


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""A zone of the IANA data base, such as `Europe/Berlin`."""

Duration = Annotated[
    timedelta,
    BeforeValidator(_to_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["15min", "7d"]}
    ),
]
"""A stretch of time, written as `15min`, `24h`, `7d` or `2w`."""

_PERIOD_PATTERN = f"^({_DURATION.pattern}|{_MONTHS.pattern})$"

Period = Annotated[
    timedelta | Months,
    BeforeValidator(_to_period),
    PlainSerializer(format_period, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PERIOD_PATTERN, "examples": ["15min", "1mo"]}),
]
"""The time from one row of a stream to the next: a duration, or months."""

Length = Annotated[
    timedelta | Months | int,
    BeforeValidator(_to_length),
    PlainSerializer(_from_length),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": _PERIOD_PATTERN},
            ]
        }
    ),
]
"""A duration, months, or a number of steps of the stream that it speaks of."""

Cut = Annotated[
    datetime | float | int,
    BeforeValidator(_to_cut),
    PlainSerializer(_from_cut),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "integer", "exclusiveMinimum": 0},
            ]
        }
    ),
]
"""Where a split begins: a time, a fraction of the rows, or a count of rows."""
