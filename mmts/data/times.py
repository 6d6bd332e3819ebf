"""Times as the user writes them, and as they are kept: int64 microseconds.

Kept times are UTC where the data state a time zone, and as they are written where they do not.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.errors import DataError

_SPANS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000))

logger = logging.getLogger(__name__)


def format_times(
    times: npt.NDArray[np.int64], has_time_zone: bool, time_zone: str | None = None
) -> npt.NDArray[np.object_]:
    """Write times as ISO 8601: in a zone with its UTC offset, in UTC with `Z`, or plainly.

    has_time_zone: whether the data state a zone. time_zone: the one in which to write.
    """
    stamps = pd.DatetimeIndex(np.asarray(times, dtype="datetime64[us]"))
    pattern = "%Y-%m-%dT%H:%M:%S" if has_time_zone else "%Y-%m-%d %H:%M:%S"
    if (stamps.microsecond != 0).any():
        pattern += ".%f"
    if has_time_zone and time_zone is not None:
        local = stamps.tz_localize("UTC").tz_convert(time_zone)
        written = local.strftime(pattern + "%z")
        return np.array([f"{time[:-2]}:{time[-2:]}" for time in written], dtype=object)
    plain = stamps.strftime(pattern)
    return (plain + "Z" if has_time_zone else plain).to_numpy(dtype=object)


def moment_of(time: datetime, has_time_zone: bool, where: str, time_zone: str | None = None) -> int:
    """Return a time that the user gave in microseconds.

    Without an offset it is local time in `time_zone`, or UTC without one; in the hour that comes
    twice in autumn it is summer time, and a warning says so.
    Raises DataError when it states an offset and the data do not: nobody can tell what that means;
    and for a local time that the clock skips in spring.
    """
    if time.tzinfo is not None and not has_time_zone:
        raise DataError(f"{where} states a UTC offset, and the data do not. Leave it out.")
    zone = ZoneInfo(time_zone) if has_time_zone and time_zone is not None else UTC
    try:
        local = time.replace(tzinfo=zone) if time.tzinfo is None else time
        utc = local.astimezone(UTC)
        if time.tzinfo is None and utc.astimezone(zone).replace(tzinfo=None) != time:
            raise DataError(
                f"{where} does not exist in {time_zone}, where the clock skips it. Name another."
            )
        if time.tzinfo is None and local.replace(fold=1).utcoffset() != local.utcoffset():
            logger.warning("%s comes twice in %s: taken for summer time", where, time_zone)
    except OverflowError:
        raise DataError(f"{where} lies outside of all calendars. Correct it.") from None
    return (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def say_span(span: int) -> str:
    """Write microseconds in the two largest units that it takes, such as `3d4h`."""
    if span < 0:
        return f"-{say_span(-span)}"
    parts: list[str] = []
    for place, (unit, size) in enumerate(_SPANS):
        if span >= size:
            # Rounded to the smallest unit that is written.
            least = _SPANS[min(place + 1, len(_SPANS) - 1)][1]
            span = round(span / least) * least
            whole, rest = divmod(span, size)
            parts.append(f"{whole}{unit}")
            if rest:
                parts.append(f"{rest // least}{_SPANS[place + 1][0]}")
            return "".join(parts)
    return f"{span / 1e6:g}s"
