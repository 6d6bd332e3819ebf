"""The long table of a forecast, and the types of its columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from mmts.data.config import DataConfig
from mmts.data.reading.sources import Source
from mmts.data.schema import DataSchema
from mmts.data.times import format_times
from mmts.data.windows import Windows

TIMES = ("origin", "timestamp")
KEYS = ("item_id", "origin", "timestamp", "step", "target")
"""The columns that hold no forecast."""


class KeyTypes:
    """How items and times are written: in a file as text, and otherwise as the user has them.

    Where the target comes as a data frame whose times are pandas' own, so are those of the
    forecast, in the same zone; where its items are whole numbers, so are those of the forecast.
    The two can then be merged as they are.
    """

    def __init__(self, config: DataConfig, schema: DataSchema, target: Source | None) -> None:
        """Look at what the target is read from."""
        self.schema = schema
        self.times: pd.Series | None = None
        self.items: pd.Series | None = None
        if not isinstance(target, pd.DataFrame):
            return
        stream = config.streams[schema.target_stream]
        columns = {str(name).strip(): place for place, name in enumerate(target.columns)}
        for name, wanted in (("times", stream.time), ("items", stream.item)):
            if wanted is not None and wanted.strip() in columns:
                setattr(self, name, target.iloc[:, columns[wanted.strip()]])

    def write_times(self, times: npt.NDArray[np.int64]) -> pd.Series:
        """Return times, (time,) int64 microseconds, as text or as pandas' own."""
        schema = self.schema
        if self.times is None or not types.is_datetime64_any_dtype(self.times.dtype):
            return pd.Series(format_times(times, schema.has_time_zone, schema.time_zone))
        stamps = pd.Series(times.astype("datetime64[us]"))
        if not schema.has_time_zone:
            return stamps
        # Local times without their offset would come twice in autumn: they get it.
        own = self.times.dt.tz
        return stamps.dt.tz_localize("UTC").dt.tz_convert(own or schema.time_zone or "UTC")

    def write_items(self, items: npt.NDArray[np.object_]) -> pd.Series:
        """Return the names of items, (row,), as text or as the whole numbers they are."""
        written = pd.Series(items)
        if self.items is not None and types.is_integer_dtype(self.items.dtype):
            return written.astype(self.items.dtype)
        return written


def forecast_table(
    forecast: npt.NDArray[np.float64],
    windows: Windows,
    items: tuple[str, ...],
    outputs: tuple[str, ...],
    key_types: KeyTypes,
) -> pd.DataFrame:
    """Return a row per window, step and target: KEYS, and a column per output.

    forecast: (window, horizon, target, output), in the target's own units.
    """
    schema = key_types.schema
    num_windows, horizon, num_targets, _ = forecast.shape
    # Written as the user stamps the rows of the target.
    stamps = schema.step_stamps(windows.origins).numpy()
    shape = (num_windows, horizon, num_targets)

    def column(values: npt.NDArray[np.generic], *axes: int) -> npt.NDArray[np.generic]:
        return np.broadcast_to(np.expand_dims(values, axes), shape).reshape(-1)

    # Written once each, and then repeated: writing times as text is slow.
    window, step = np.arange(num_windows), np.arange(num_windows * horizon)
    names = np.array([items[place] for place in windows.items.tolist()], dtype=object)
    own_items = key_types.write_items(names)
    origins = key_types.write_times(windows.origins.numpy())
    timestamps = key_types.write_times(stamps.reshape(-1))
    in_window = column(window, 1, 2).astype(np.intp)
    at_step = column(step.reshape(num_windows, horizon), 2).astype(np.intp)
    table = {
        "item_id": own_items.take(in_window).array,
        "origin": origins.take(in_window).array,
        "timestamp": timestamps.take(at_step).array,
        "step": column(np.arange(horizon) + 1, 0, 2),
        "target": column(np.array(schema.target_columns, dtype=object), 0, 1),
    }
    for place, output in enumerate(outputs):
        table[output] = forecast[..., place].reshape(-1)
    return pd.DataFrame(table)


def times_as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its times as a forecast file has them."""
    written = {}
    for name in TIMES:
        if name in table and types.is_datetime64_any_dtype(table[name].dtype):
            stamps = pd.DatetimeIndex(table[name])
            zone = stamps.tz
            plain = stamps if zone is None else stamps.tz_convert("UTC").tz_localize(None)
            times = plain.to_numpy(dtype="datetime64[us]").astype(np.int64)
            in_zone = None if zone is None or str(zone) == "UTC" else str(zone)
            written[name] = format_times(times, zone is not None, in_zone)
    return table.assign(**written)
