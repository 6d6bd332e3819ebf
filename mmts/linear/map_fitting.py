"""Fitting one linear map in closed form, its penalties chosen on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from mmts.data.gathering import WindowGatherer
from mmts.linear.errors import summed_errors
from mmts.linear.features import CalendarPart, Level, WindowFeatures
from mmts.linear.fitted import FittedMap, mean_of
from mmts.linear.path import Reads, Unit
from mmts.linear.regression import RidgeProblem
from mmts.linear.sample import Sample, lay_out

PENALTIES = tuple(10.0**exponent for exponent in range(2, -7, -1))
"""Penalties to choose from, per train window: with 1,000 windows these are 10^5 to 10^-3. Smaller
ones are tried until two in a row were no better."""

MAX_NUMBERS = 2**27
"""Numbers that are kept of all windows, 512 MiB; of more windows evenly spread ones are taken."""

NUM_KEPT = 2
"""Ways to lay windows out, by level and unit, that are kept: of more, one that was not chosen goes.
Each may take a gigabyte."""

NUM_COMPARED = 6
"""Steps at which penalties are compared: to solve for every step takes longer."""

QUARTER = 4
"""The shorter of two contexts is so many times shorter than the whole one."""


class MapSettings(NamedTuple):
    """How a map is fitted, as in `LinearConfig`, with nothing left open.

    contexts: or `quarter`, for the shorter of both.
    """

    loss: str
    level: Level
    reads: Reads
    recent: float
    contexts: str
    unit: Unit = "train"


class _Rows(NamedTuple):
    """features: (row, feature). targets, observed: (row, output). unit: the same, or (row, 1)."""

    features: Tensor
    targets: Tensor
    observed: Tensor
    unit: Tensor


class MapFitter:
    """Fits maps on the same windows, none twice."""

    def __init__(
        self,
        train: WindowGatherer,
        validation: WindowGatherer,
        category_sizes: Mapping[str, Mapping[str, int]],
        calendar: CalendarPart,
        is_robust: bool,
        penalties: Sequence[float],
        num_features: int,
    ) -> None:
        """Take the windows, of too many evenly spread ones.

        is_robust: whether errors are compared by their size as much as by their squares.
        num_features: beside the target's own past, of all that may be read, one after the other.
        """
        self.windows = (train, validation)
        self.category_sizes, self.calendar = category_sizes, calendar
        self.is_robust, self.penalties = is_robust, penalties
        target = train.schema.target
        numbers = target.context_steps * len(train.schema.target_columns) + num_features
        self.strides = [max(1, -(-len(split) * numbers // MAX_NUMBERS)) for split in self.windows]
        self.origins = validation.windows.origins[:: self.strides[1]]
        self.quarter = max(1, target.context_steps // QUARTER)
        self.samples: dict[tuple[Level, Unit], dict[Reads, tuple[Sample, Sample]]] = {}
        self.fitted: dict[MapSettings, FittedMap] = {}

    def fit(self, settings: MapSettings) -> FittedMap:
        """Return the map of these settings."""
        if settings not in self.fitted:
            self.fitted[settings] = self._fit_anew(settings)
        return self.fitted[settings]

    def sample(self, level: Level, unit: Unit, reads: Reads) -> tuple[Sample, Sample]:
        """Return the train and the validation windows."""
        # The latest stands last.
        found = self.samples.pop((level, unit), {})
        while len(self.samples) >= NUM_KEPT:
            del self.samples[next(iter(self.samples))]
        self.samples[level, unit] = found
        if reads not in found:
            features = None
            if reads != "own":
                schema = self.windows[0].schema
                features = WindowFeatures(
                    schema, self.category_sizes, level, self.calendar, with_texts=reads == "all"
                )
            train, validation = (
                lay_out(windows, stride, level, unit, features)
                for windows, stride in zip(self.windows, self.strides, strict=True)
            )
            for others in found.values():
                train, validation = train.sharing(others[0]), validation.sharing(others[1])
            found[reads] = (train, validation)
        return found[reads]

    def _fit_anew(self, settings: MapSettings) -> FittedMap:
        if settings.reads != "own":
            own = self.fit(settings._replace(reads="own"))
            return self._fit_every(settings, own, *self._split(settings))
        if settings.contexts == "both":
            parts = (settings._replace(contexts=part) for part in ("whole", "quarter"))
            return mean_of(*(self.fit(part) for part in parts))
        return self._fit_own(settings, *self._split(settings))

    def _split(self, settings: MapSettings) -> tuple[Sample, Sample]:
        train, validation = self.sample(settings.level, settings.unit, settings.reads)
        return train.latest(settings.recent), validation

    def _fit_own(self, settings: MapSettings, train: Sample, validation: Sample) -> FittedMap:
        """Fit the map from the latest steps that all targets share: each of them is a row."""
        is_quarter = settings.contexts == "quarter"
        num_steps = self.quarter if is_quarter else train.past.shape[2]

        def rows_of(sample: Sample) -> _Rows:
            by_target = "window horizon target -> (window target) horizon"
            return _Rows(
                sample.past[..., -num_steps:].flatten(0, 1),
                rearrange(sample.ahead, by_target),
                rearrange(sample.observed, by_target),
                rearrange(sample.unit, by_target),
            )

        horizon, num_targets = train.ahead.shape[1:]
        penalty, weights, intercepts = self._solve(
            settings.loss, rows_of(train), rows_of(validation), _compared_steps(horizon)
        )
        shared = intercepts[:, None].expand(-1, num_targets).contiguous()
        # Steps before those that were read have no weight.
        own = functional.pad(weights, (0, 0, train.past.shape[2] - num_steps, 0))
        return FittedMap({"quarter" if is_quarter else "own": penalty}, own, shared)

    def _fit_every(
        self, settings: MapSettings, own: FittedMap, train: Sample, validation: Sample
    ) -> FittedMap:
        """Fit a map from all streams to what the map of the targets' own past leaves open."""

        def rows_of(sample: Sample) -> _Rows:
            left = (sample.ahead - own.say(sample)).masked_fill(~sample.observed, 0.0)
            unit = sample.unit.expand_as(left)
            return _Rows(
                sample.features, *(part.flatten(1) for part in (left, sample.observed, unit))
            )

        horizon, num_targets = train.ahead.shape[1:]
        outputs = _compared_steps(horizon)[:, None] * num_targets + torch.arange(num_targets)
        penalty, weights, intercepts = self._solve(
            settings.loss, rows_of(train), rows_of(validation), outputs.flatten()
        )
        whole = own.intercepts + intercepts.reshape(own.intercepts.shape)
        return FittedMap({**own.penalties, "every": penalty}, own.own, whole, weights)

    def _solve(
        self, loss: str, train: _Rows, validation: _Rows, compared: Tensor
    ) -> tuple[float, Tensor, Tensor]:
        """Return the penalty that is best on validation, its weights and its intercepts.

        compared: (output,) int64, those by which the penalty is chosen. Features that never vary
        over the train rows get no weight.
        """
        used = train.observed.any(dim=1)
        if not bool(used.all()):
            train = _Rows(*(part[used] for part in train))
        kept = torch.nonzero(train.features.amin(dim=0) < train.features.amax(dim=0)).flatten()
        problem = RidgeProblem(
            train.features[:, kept], train.targets, train.observed, is_robust=loss == "huber"
        )
        features, truth = validation.features[:, kept], validation.targets[:, compared]
        observed, unit = validation.observed[:, compared], validation.unit
        unit = unit[:, compared] if unit.shape[1] > 1 else unit
        errors: dict[float, float] = {}
        solutions = problem.solve(self.penalties, compared)
        for penalty, (weights, intercepts) in zip(self.penalties, solutions, strict=True):
            missed = (features @ weights + intercepts - truth) * unit
            error = summed_errors(missed, observed, self.is_robust)
            # A penalty too small to be solved for in the arithmetic used is none to choose.
            errors[penalty] = math.inf if math.isnan(error) else error
            if min(errors.values()) < min(list(errors.values())[-2:]):
                break
        penalty = min(errors, key=errors.__getitem__)
        every_output = torch.arange(train.targets.shape[1])
        solved, intercepts = next(problem.solve([penalty], every_output))
        weights = torch.zeros(train.features.shape[1], train.targets.shape[1])
        weights[kept] = solved
        return penalty, weights, intercepts


def _compared_steps(horizon: int) -> Tensor:
    return torch.linspace(0, horizon - 1, min(horizon, NUM_COMPARED)).round().long()
