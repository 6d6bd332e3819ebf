"""What all settings share: frozen models that refuse unknown keys, and durations in words."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "min": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_TERM = re.compile(r"(\d+(?:\.\d+)?)\s*(w|d|h|min|s)")
_DURATION = re.compile(r"(\s*\d+(?:\.\d+)?\s*(w|d|h|min|s)\s*)+")


class Config(BaseModel):
    """A frozen group of settings; an unknown key is an error, not an extra."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `15min`, `24h`, `7d` or `1d12h`.

    Raises ValueError when the text is not one.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration")
    try:
        return sum((float(n) * _UNITS[unit] for n, unit in _TERM.findall(text)), timedelta())
    except OverflowError:
        raise ValueError(f"{text!r} is not a duration that fits") from None


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


def _to_length(value: Any) -> timedelta | int:
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


def _from_cut(cut: datetime | float | int) -> str | float | int:
    return cut.isoformat() if isinstance(cut, datetime) else cut


def _from_length(length: timedelta | int) -> str | int:
    return length if isinstance(length, int) else format_duration(length)


Duration = Annotated[
    timedelta,
    BeforeValidator(_to_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["15min", "7d"]}
    ),
]
"""A stretch of time, written as `15min`, `24h`, `7d` or `2w`."""

Length = Annotated[
    timedelta | int,
    BeforeValidator(_to_length),
    PlainSerializer(_from_length),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": f"^{_DURATION.pattern}$"},
            ]
        }
    ),
]
"""A duration, or a number of steps of the stream that it speaks of."""

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


def steps_of(length: timedelta | int, period: timedelta) -> int:
    """Return a length in whole steps of `period`, rounded up."""
    if isinstance(length, int):
        return length
    return -(-length // period)
