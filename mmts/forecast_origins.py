"""The moments at which forecasts begin, as a user names them and as windows hold them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from typing import TypeGuard, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmts.data.schema import DataSchema
from mmts.data.streams import Stream
from mmts.data.times import format_times, moment_of
from mmts.data.windows import Windows, latest_origins
from mmts.errors import DataError, raise_all

Moment = str | date | np.datetime64
"""A time as people have it: ISO 8601, a datetime or Timestamp, a date (its midnight)."""

Moments = Moment | Sequence[Moment] | pd.DatetimeIndex | pd.Series
"""One time, or several."""

_FEW_STEPS = 3
"""By which items may end apart without a word, where the horizon is shorter."""

logger = logging.getLogger(__name__)


def origins_latest(target: Stream, schema: DataSchema, items: tuple[str, ...]) -> Windows:
    """Take the end of what is known of each item; those with no value are told."""
    windows = latest_origins(target, schema)
    if len(windows) == 0:
        raise DataError(f"stream {schema.target_stream!r} holds no value to forecast from.")
    for missing in sorted(set(range(len(items))) - set(windows.items.tolist())):
        logger.warning("item %r has no value and gets no forecast", items[missing])
    last = windows.origins.max()
    behind = schema.clock.elapsed(windows.origins, last) >= max(schema.horizon, _FEW_STEPS)
    if behind.any():
        late = [items[place] for place in windows.items[behind].tolist()]
        first, end = format_times(
            np.array([int(windows.origins.min()), int(last)]),
            schema.has_time_zone,
            schema.time_zone,
        )
        logger.warning(
            "%s end%s a whole horizon or more before the last item: each is forecast from its own "
            "end, from %s to %s. Name an origin to have all from one moment",
            ", ".join(late[:3]) + (f" and {len(late) - 3} more" if len(late) > 3 else ""),
            "s" if len(late) == 1 else "",
            first,
            end,
        )
    return windows


def origins_at(
    origin: Moments, target: Stream, schema: DataSchema, items: tuple[str, ...]
) -> Windows:
    """Take one origin, or several, for all items that it is possible for; the others are told.

    Several are in order, and each counts once. Raises DataError where no item can be forecast.
    """
    given = _as_list(origin)
    if not given:
        raise DataError("origin: the list is empty. Name a time, or leave it out.")
    said = {parse_moment(one, schema, "origin"): one for one in given}

    def write(moment: Tensor) -> str:
        times = np.array([int(moment)])
        return str(format_times(times, schema.has_time_zone, schema.time_zone)[0])

    known = latest_origins(target, schema)
    has_value = torch.zeros(len(items), dtype=torch.bool)
    has_value[known.items.long()] = True
    latest = torch.zeros(len(items), dtype=torch.int64)
    latest[known.items.long()] = known.origins
    places, problems = [], []
    for moment in sorted(said):
        # Where there is no value, the first time is none.
        first = torch.where(has_value, target.first_time, moment)
        steps = schema.clock.elapsed(first, moment)
        below, above = (schema.clock.advance(first, steps + more) for more in (0, 1))
        possible = has_value & (below == moment) & (first < moment) & (moment <= latest)
        places.append(torch.nonzero(possible).flatten())
        for place in torch.nonzero(~possible).flatten().tolist():
            if not has_value[place]:
                problems.append(f"item {items[place]!r} has no value to forecast from.")
                continue
            # Something must lie before an origin.
            earliest = schema.clock.advance(first[place], 1)
            if earliest <= moment <= latest[place]:
                problems.append(
                    f"origin {said[moment]} does not stand on the grid of item {items[place]!r}. "
                    f"Take {write(below[place])} or {write(above[place])}."
                )
            else:
                problems.append(
                    f"origin {said[moment]} lies outside what item {items[place]!r} can be "
                    f"forecast from, {write(earliest)} to {write(latest[place])}."
                )
    found = torch.cat(places)
    if not len(found):
        raise_all(DataError, problems)
    for problem in dict.fromkeys(problems):
        logger.warning("no forecast: %s", problem)
    counts = torch.tensor([len(of_moment) for of_moment in places])
    moments = torch.repeat_interleave(torch.tensor(sorted(said)), counts)
    order = torch.argsort(found, stable=True)
    return Windows(found[order].to(torch.int32), moments[order])


def origins_between(
    origin: Moment,
    until: Moment,
    target: Stream,
    schema: DataSchema,
    items: tuple[str, ...],
) -> Windows:
    """Take every place between two moments, of the items that are known there."""
    begin = parse_moment(origin, schema, "origin")
    end = parse_moment(until, schema, "until")
    known = latest_origins(target, schema)
    present = known.items.long()
    first = target.first_time[present]
    # Something must lie before an origin, and nothing that is known after it.
    low = (schema.clock.elapsed(first, begin - 1) + 1).clamp(min=1)
    high = schema.clock.elapsed(first, known.origins.clamp(max=end))
    counts = (high - low + 1).clamp(min=0)
    if not counts.any():
        raise DataError(f"no item is known at an origin from {origin} to {until}. Move the two.")
    for missing in sorted(set(range(len(items))) - set(present[counts > 0].tolist())):
        logger.warning(
            "no forecast: item %r is not known from %s to %s", items[missing], origin, until
        )
    place = torch.repeat_interleave(low - counts.cumsum(0) + counts, counts)
    place += torch.arange(len(place))
    origins = schema.clock.advance(torch.repeat_interleave(first, counts), place)
    return Windows(torch.repeat_interleave(known.items, counts), origins)


def is_one_moment(origin: Moments) -> TypeGuard[Moment]:
    """Tell one time from several."""
    return isinstance(origin, str | date | np.datetime64)


def parse_moment(given: Moment, schema: DataSchema, name: str) -> int:
    """Return a time in microseconds, as the data have them.

    name: of what is given, for messages. Raises DataError for what is no time, and for one that
    cannot be meant; see `moment_of`.
    """
    try:
        moment = _as_datetime(given)
    except (ValueError, TypeError):
        raise DataError(f"{name} {given!r} is no time. Write it as 2013-10-01T14:00.") from None
    return moment_of(moment, schema.has_time_zone, f"{name} {given}", schema.time_zone)


def _as_datetime(given: Moment) -> datetime:
    if isinstance(given, str):
        return datetime.fromisoformat(given)
    if isinstance(given, np.datetime64):
        given = pd.Timestamp(given)
    if isinstance(given, datetime):
        if pd.isna(given):
            raise ValueError
        return given
    if isinstance(given, date):
        return datetime.combine(given, time())
    raise TypeError


def _as_list(origin: Moments) -> list[Moment]:
    if is_one_moment(origin) or not isinstance(origin, Iterable):
        # What is neither a time nor several is told when it is parsed.
        return [origin]
    return list(cast(Iterable[Moment], origin))
