"""From a checkpoint and data to a forecast."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from mmts.checkpoint import CheckpointInfo, load_checkpoint
from mmts.data.dataset import load_streams, stream_paths
from mmts.data.gathering import WindowGatherer
from mmts.data.reading.sources import Source
from mmts.data.schema import DataSchema
from mmts.data.streams import Stream
from mmts.data.times import format_times, moment_of
from mmts.data.windows import Windows, latest_origins
from mmts.errors import DataError, nearest, raise_all
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
        streams: Mapping[str, Source],
        origin: str | datetime | None = None,
        until: str | datetime | None = None,
    ) -> pd.DataFrame:
        """Forecast every item.

        streams: a CSV file or data frame per stream, with the columns of training; a stream left
            out counts as absent.
        origin: the start of forecast step 1, the same for all items; by default the end of what
            is known of each item.
        until: forecast again from every place of the grid after `origin` up to this one, each time
            from what was known then.
        Returns the long table: item_id, origin, timestamp, step, target, and `mean` or quantiles,
        in the target's own units. Raises DataError for any fault in the streams or the origin.
        """
        schema = self.info.data_schema
        raise_all(
            DataError,
            (
                f"there is no stream {name!r}{nearest(name, schema.streams)}"
                for name in streams
                if name not in schema.streams
            ),
        )
        for name, stream in schema.streams.items():
            if name not in streams and stream.calendar is None:
                logger.warning("stream %r is left out: forecasting without it", name)
        loaded, items = load_streams(self.info.config.data, schema, self.info.scaling, streams)
        target = loaded[schema.target_stream]
        if origin is not None and until is not None:
            windows = self._origins_between(origin, until, target, items)
        elif until is not None:
            raise DataError(f"until {until}: give the origin from which on to forecast as well.")
        elif origin is None:
            windows = latest_origins(target, schema)
            if len(windows) == 0:
                raise DataError(f"stream {schema.target_stream!r} holds no value to forecast from.")
            for missing in sorted(set(range(len(items))) - set(windows.items.tolist())):
                logger.warning("item %r has no value and gets no forecast", items[missing])
        else:
            windows = self._origins_at(origin, target, items)
        gatherer = WindowGatherer(schema, loaded, windows)
        self._warn_of_unknown_future(gatherer)
        return self._to_table(self.predict_windows(gatherer), windows, items)

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

    def _origins_at(
        self, origin: str | datetime, target: Stream, items: tuple[str, ...]
    ) -> Windows:
        """Take one origin for all items that it is possible for; the others are told."""
        schema = self.info.data_schema
        moment = _parse_moment(origin, schema, "origin")

        def words(*moments: int) -> list[str]:
            return list(format_times(np.array(moments), schema.has_time_zone, schema.time_zone))

        known = latest_origins(target, schema)
        latest = dict(zip(known.items.tolist(), known.origins.tolist(), strict=True))
        places, problems = [], []
        for place, item in enumerate(items):
            first, last = target.first_time[place], latest.get(place)
            below = int(schema.clock.advance(first, schema.clock.elapsed(first, moment)))
            if last is None:
                problems.append(f"item {item!r} has no value to forecast from.")
            elif moment != below:
                near = words(below, int(schema.clock.advance(torch.tensor(below), 1)))
                problems.append(
                    f"origin {origin} does not stand on the grid of item {item!r}. "
                    f"Take {near[0]} or {near[1]}."
                )
            elif not int(first) < moment <= last:
                span = words(int(first), last)
                problems.append(
                    f"origin {origin} lies outside what is known of item {item!r}, "
                    f"{span[0]} to {span[1]}."
                )
            else:
                places.append(place)
        if not places:
            raise_all(DataError, problems)
        for problem in problems:
            logger.warning("no forecast: %s", problem)
        return Windows(torch.tensor(places, dtype=torch.int32), torch.full((len(places),), moment))

    def _origins_between(
        self,
        origin: str | datetime,
        until: str | datetime,
        target: Stream,
        items: tuple[str, ...],
    ) -> Windows:
        """Take every place between two moments, of the items that are known there."""
        schema = self.info.data_schema
        begin = _parse_moment(origin, schema, "origin")
        end = _parse_moment(until, schema, "until")
        known = latest_origins(target, schema)
        present = known.items.long()
        first = target.first_time[present]
        # Something must lie before an origin, and nothing that is known after it.
        low = (schema.clock.elapsed(first, begin - 1) + 1).clamp(min=1)
        high = schema.clock.elapsed(first, known.origins.clamp(max=end))
        counts = (high - low + 1).clamp(min=0)
        if not counts.any():
            raise DataError(
                f"no item is known at an origin from {origin} to {until}. Move the two."
            )
        for missing in sorted(set(range(len(items))) - set(present[counts > 0].tolist())):
            logger.warning(
                "no forecast: item %r is not known from %s to %s", items[missing], origin, until
            )
        place = torch.repeat_interleave(low - counts.cumsum(0) + counts, counts)
        place += torch.arange(len(place))
        origins = schema.clock.advance(torch.repeat_interleave(first, counts), place)
        return Windows(torch.repeat_interleave(known.items, counts), origins)

    def _warn_of_unknown_future(self, gatherer: WindowGatherer) -> None:
        schema = self.info.data_schema
        num_empty = dict.fromkeys(schema.streams, 0)
        num_ahead = dict.fromkeys(schema.streams, 0)
        num_unknown = dict.fromkeys(schema.streams, 0)
        for batch in gatherer.batches(BATCH_SIZE):
            horizon = batch.step_edges[:, -1:]
            for name, stream in schema.streams.items():
                window = batch.streams[name]
                num_empty[name] += int((~window.observed.flatten(1).any(dim=1)).sum())
                if stream.has_future and stream.is_regular:
                    ahead = (window.start >= 0) & (window.start < horizon)
                    known = window.observed[..., stream.channels("future")].any(dim=-1)
                    num_ahead[name] += int(ahead.sum())
                    num_unknown[name] += int((ahead & ~known).sum())
        for name in schema.streams:
            if num_empty[name] and len(gatherer.streams[name].values) > 1:
                logger.warning(
                    "stream %r holds nothing in the window of %d of %d forecasts: forecasting "
                    "without it there",
                    name,
                    num_empty[name],
                    len(gatherer),
                )
            if num_unknown[name]:
                logger.warning(
                    "stream %r: %d of %d steps of the horizon are not known: "
                    "forecasting without them",
                    name,
                    num_unknown[name],
                    num_ahead[name],
                )

    def _to_table(
        self,
        forecast: npt.NDArray[np.float64],
        windows: Windows,
        items: tuple[str, ...],
    ) -> pd.DataFrame:
        schema = self.info.data_schema
        num_windows, horizon, num_targets, _ = forecast.shape
        steps = np.arange(horizon)
        # Written as the user stamps the rows of the target.
        stamps = schema.step_stamps(windows.origins).numpy()
        shape = (num_windows, horizon, num_targets)

        def column(values: npt.NDArray[np.generic], *axes: int) -> npt.NDArray[np.generic]:
            return np.broadcast_to(np.expand_dims(values, axes), shape).reshape(-1)

        def words(times: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
            written = format_times(times.reshape(-1), schema.has_time_zone, schema.time_zone)
            return written.reshape(times.shape)

        names = np.array([items[place] for place in windows.items.tolist()], dtype=object)
        table = {
            "item_id": column(names, 1, 2),
            "origin": column(words(windows.origins.numpy()), 1, 2),
            "timestamp": column(words(stamps), 2),
            "step": column(steps + 1, 0, 2),
            "target": column(np.array(schema.target_columns, dtype=object), 0, 1),
        }
        for place, output in enumerate(self.model.outputs):
            table[output] = forecast[..., place].reshape(-1)
        return pd.DataFrame(table)


def choose_sources(forecaster: Forecaster, changes: Sequence[str]) -> dict[str, Source]:
    """Return the files of training, changed as in `weather=new.csv`; `weather=` leaves one out.

    Raises DataError for a change of another form, or for a stream that does not exist.
    """
    sources = forecaster.default_sources()
    problems = []
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
        elif path:
            sources[name] = path
        else:
            sources.pop(name, None)
    raise_all(DataError, problems)
    return sources


def _parse_moment(time: str | datetime, schema: DataSchema, name: str) -> int:
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        raise DataError(f"{name} {time!r} is no time. Write it as 2013-10-01T14:00.") from None
    return moment_of(moment, schema.has_time_zone, f"{name} {time}", schema.time_zone)
