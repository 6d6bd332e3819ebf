"""Times as the user writes them, and as they are kept: int64 microseconds.

Kept times are UTC where the data state a time zone, and as they are written where they do not.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.errors import DataError


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

    Without an offset it is local time in `time_zone`, or UTC without one.
    Raises DataError when it states an offset and the data do not: nobody can tell what that means.
    """
    if time.tzinfo is not None and not has_time_zone:
        raise DataError(f"{where} states a UTC offset, and the data do not. Leave it out.")
    zone = ZoneInfo(time_zone) if has_time_zone and time_zone is not None else UTC
    try:
        utc = (time.replace(tzinfo=zone) if time.tzinfo is None else time).astimezone(UTC)
    except OverflowError:
        raise DataError(f"{where} lies outside of all calendars. Correct it.") from None
    return (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
