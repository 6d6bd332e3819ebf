"""From a checkpoint and data to a forecast."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from mmts.checkpoint import CheckpointInfo, load_checkpoint
from mmts.data.dataset import load_streams
from mmts.data.gathering import WindowGatherer
from mmts.data.reading.sources import Source
from mmts.data.source_files import stream_paths
from mmts.errors import DataError, nearest, raise_all
from mmts.forecast_origins import (
    Moment,
    Moments,
    is_one_moment,
    origins_at,
    origins_between,
    origins_latest,
)
from mmts.forecast_table import KeyTypes, forecast_table
from mmts.forecast_warnings import warn_of_windows
from mmts.model import EdgeObserver, MultimodalForecaster

BATCH_SIZE = 256

logger = logging.getLogger(__name__)


class Forecaster:
    """A trained model with all that it needs to go from tables to forecasts."""

    def __init__(self, info: CheckpointInfo, model: MultimodalForecaster) -> None:
        """Wrap a model; use `from_checkpoint` to read one."""
        self.info = info
        self.model = model

    @classmethod
    def from_checkpoint(cls, path: str | Path, calibrated: bool = True) -> Forecaster:
        """Read a checkpoint; raises CheckpointError when it is not one.

        calibrated: whether a calibration that it holds is used.
        """
        forecaster = cls(*load_checkpoint(path))
        return forecaster if calibrated else forecaster.without_calibration()

    def without_calibration(self) -> Forecaster:
        """Return one that gives the quantiles as the model says them."""
        return Forecaster(self.info.model_copy(update={"calibration": None}), self.model)

    def default_sources(self) -> dict[str, Source]:
        """Return the files that the model was trained on."""
        return dict(stream_paths(self.info.config.data))

    def predict(
        self,
        streams: Mapping[str, Source | None],
        origin: Moments | None = None,
        until: Moment | None = None,
        as_text: bool = False,
    ) -> pd.DataFrame:
        """Forecast every item.

        streams: a CSV file or data frame per stream, with the columns of training, see
            `describe_streams`; rows in any order. A stream left out, or None, counts as absent.
        origin: the start of forecast step 1, the same for all items, or several such; by default
            the end of what is known of each item. An item that cannot be forecast from there is
            left out, and a warning says why.
        until: forecast again from every place of the grid after `origin` up to this one, each time
            from what was known then.
        as_text: whether items and times are text, as in a forecast file, whatever the frames hold.
        Returns the long table, a row per item, origin, step and target: item_id, origin,
        timestamp, step (from 1), target, and `mean` or quantiles such as `0.1`, in the target's
        own units. Times are text as in a forecast file; where the target's frame has times of
        pandas, they are such, in its time zone, and whole numbers as items stay whole numbers, so
        that the two can be merged. Only local times of a `data.time_zone` without their offset come
        back with it, as an hour in autumn would stand for two.
        Raises DataError for any fault in the streams or the origin.
        """
        schema = self.info.data_schema
        self._require_streams(streams)
        given = {name: source for name, source in streams.items() if source is not None}
        for name, stream in schema.streams.items():
            if name not in given and stream.calendar is None:
                logger.warning("stream %r is left out: forecasting without it", name)
        loaded, items = load_streams(self.info.config.data, schema, self.info.scaling, given)
        target = loaded[schema.target_stream]
        if until is not None:
            if origin is None or not is_one_moment(origin):
                raise DataError(
                    f"until {until}: give the origin from which on to forecast as well, a single "
                    "one."
                )
            windows = origins_between(origin, until, target, schema, items)
        elif origin is None:
            windows = origins_latest(target, schema, items)
        else:
            windows = origins_at(origin, target, schema, items)
        gatherer = WindowGatherer(schema, loaded, windows)
        warn_of_windows(gatherer, self.info.scaling, items)
        return forecast_table(
            self.predict_windows(gatherer),
            windows,
            items,
            self.model.outputs,
            self.key_types({} if as_text else given),
        )

    def key_types(self, streams: Mapping[str, Source | None]) -> KeyTypes:
        """Return how a forecast from these streams writes its items and times."""
        schema = self.info.data_schema
        return KeyTypes(self.info.config.data, schema, streams.get(schema.target_stream))

    def describe_streams(self) -> pd.DataFrame:
        """Return what `predict` reads: a row per column with its stream, role and type.

        The role is target, past, future or static, or time, item or available_at for the columns
        that say whose a row is and when. Streams made up from the calendar need no column.
        """
        rows = []
        for name, stream in self.info.data_schema.streams.items():
            if stream.calendar is not None:
                continue
            keys = self.info.config.data.streams[name]
            for role in ("time", "item", "available_at"):
                column = getattr(keys, role)
                if column is not None:
                    rows.append((name, column, role, "time" if role != "item" else "category"))
            rows += [(name, column.name, column.role, column.type) for column in stream.columns]
        return pd.DataFrame(rows, columns=["stream", "column", "role", "type"])

    def __repr__(self) -> str:
        """Say what is forecast, and from what."""
        schema = self.info.data_schema
        return (
            f"<Forecaster of {', '.join(schema.target_columns)}, {schema.horizon} steps of "
            f"{schema.clock} ahead ({', '.join(self.model.outputs)}), from "
            f"{', '.join(schema.streams)}>"
        )

    def _require_streams(self, streams: Mapping[str, Source | None]) -> None:
        known = self.info.data_schema.streams
        if not isinstance(streams, Mapping):
            target = self.info.data_schema.target_stream
            raise DataError(
                f"streams: {type(streams).__name__} is no mapping. Name the stream of each frame "
                f"or file: {{{target!r}: ...}}."
            )
        faults = [
            f"there is no stream {name!r}{nearest(str(name), known)}"
            for name in streams
            if name not in known
        ]
        faults += [
            _say_made_up(name)
            for name, given in streams.items()
            if given is not None and name in known and known[name].calendar
        ]
        raise_all(DataError, faults)

    def predict_windows(
        self,
        windows: WindowGatherer,
        observer: EdgeObserver | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> npt.NDArray[np.float64]:
        """Forecast windows; returns (window, horizon, target, output) in the target's own units.

        observer: told of everything that an edge adds, batch by batch in the order of windows.
        """
        device = next(self.model.parameters()).device
        self.model.eval()
        with torch.inference_mode():
            pieces = [
                self.model(batch, observer).float().cpu()
                for batch in windows.to(device).batches(batch_size)
            ]
        forecast = torch.cat(pieces).numpy().astype(np.float64)
        calibration = self.info.calibration
        if calibration is not None:
            levels = [float(output) for output in self.model.outputs]
            forecast = calibration.apply(forecast, levels)
        return self.unscale(forecast)

    def unscale(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Bring (..., target, output) from the training scale to the target's own units."""
        schema = self.info.data_schema
        numbers = self.info.scaling[schema.target_stream].numbers
        mean = np.array([numbers[column].mean for column in schema.target_columns])
        scale = np.array([numbers[column].scale for column in schema.target_columns])
        restored: npt.NDArray[np.float64] = values * scale[:, None] + mean[:, None]
        return restored

    def unscale_points(self, values: Tensor) -> npt.NDArray[np.float64]:
        """Bring (..., target) from the training scale to the target's own units."""
        return self.unscale(values.numpy().astype(np.float64)[..., None])[..., 0]


def _say_made_up(name: str) -> str:
    return f"stream {name!r} is made from the calendar and takes no data. Leave it out."


def choose_sources(forecaster: Forecaster, changes: Sequence[str]) -> dict[str, Source]:
    """Return the files of training, changed as in `weather=new.csv`; `weather=` leaves one out.

    Raises DataError for a change of another form, or for a stream that does not exist.
    """
    sources = forecaster.default_sources()
    problems = []
    named = [change.partition("=")[0] for change in changes if "=" in change]
    for name in dict.fromkeys(name for name in named if named.count(name) > 1):
        problems.append(
            f"--data {name}=...: given more than once. A stream is read from one file, folder or "
            "pattern, such as 'new-*.csv'."
        )
    for change in changes:
        name, equals, path = change.partition("=")
        if not equals:
            problems.append(f"--data {change}: write it as stream=file.csv.")
        elif name not in forecaster.info.data_schema.streams:
            known = forecaster.info.data_schema.streams
            listing = f"; there are {', '.join(known)}."
            problems.append(
                f"--data {change}: there is no such stream{nearest(name, known, listing)}"
            )
        elif path and forecaster.info.data_schema.streams[name].calendar:
            problems.append(f"--data {change}: {_say_made_up(name)}")
        elif path:
            sources[name] = path
        else:
            sources.pop(name, None)
    raise_all(DataError, problems)
    return sources
