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
from mmts.linear.features import CalendarPart, FeatureKinds, Level, WindowFeatures
from mmts.linear.fitted import FittedMap, mean_of
from mmts.linear.path import Reads, Unit
from mmts.linear.regression import RidgeProblem, Solution
from mmts.linear.sample import Sample, choose_spread, lay_out

PENALTIES = tuple(10.0**exponent for exponent in range(2, -7, -1))
"""Penalties to choose from, per train window: with 1,000 windows these are 10^5 to 10^-3. Smaller
ones are tried until two in a row were no better."""

MAX_NUMBERS = 2**27
"""Numbers that are kept of all windows, 512 MiB; of more windows so many are taken as fit."""

NUM_KEPT = 2
"""Ways to lay windows out, by level and unit, that are kept: of more, one that was not chosen goes.
Each may take a gigabyte."""

NUM_COMPARED = 6
"""Steps at which penalties are compared: to solve for every step takes longer."""

RARELY = 0.02
"""Share of train windows that a flag has to be set in, and unset in, to be read. What the few have
in common would be learned by heart, and said of every window in which a stream is missing."""

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


Penalties = Mapping[str, float]
"""By the part of a map, as in `FittedMap`."""


class _Rows(NamedTuple):
    """features: (row, feature). targets, observed: (row, output). unit: the same, or (row, 1)."""

    features: Tensor
    targets: Tensor
    observed: Tensor
    unit: Tensor


class _Solved(NamedTuple):
    """penalty, freedom: as in `FittedMap`. weights: (feature, output). intercepts: (output,)."""

    penalty: float
    freedom: float
    weights: Tensor
    intercepts: Tensor


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
        """Take the windows, of too many some that are spread over all.

        is_robust: whether errors are compared by their size as much as by their squares.
        num_features: beside the target's own past, of all that may be read, one after the other.
        """
        self.windows = (train, validation)
        self.category_sizes, self.calendar = category_sizes, calendar
        self.is_robust, self.penalties = is_robust, penalties
        target = train.schema.target
        numbers = target.context_steps * len(train.schema.target_columns) + num_features
        most = max(1, MAX_NUMBERS // numbers)
        self.chosen = [choose_spread(len(split), most) for split in self.windows]
        self.origins = validation.windows.origins[self.chosen[1]]
        self.quarter = max(1, target.context_steps // QUARTER)
        self.samples: dict[tuple[Level, Unit], dict[Reads, tuple[Sample, Sample]]] = {}
        self.kinds: dict[Reads, FeatureKinds] = {}
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
            if features is not None and reads not in self.kinds:
                self.kinds[reads] = features.kinds()
            train, validation = (
                lay_out(windows, chosen, level, unit, features)
                for windows, chosen in zip(self.windows, self.chosen, strict=True)
            )
            for others in found.values():
                train, validation = train.sharing(others[0]), validation.sharing(others[1])
            found[reads] = (train, validation)
        return found[reads]

    def refit(self, settings: MapSettings, fitted: FittedMap, train: Sample) -> FittedMap:
        """Fit with the penalties of a map on other windows, laid out as the settings say."""
        own = self._fit_own_parts(settings, train, fitted.penalties)
        if settings.reads == "own":
            return own
        return self._fit_every(settings, own, train, None, fitted)

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

    def _fit_own_parts(
        self, settings: MapSettings, train: Sample, penalties: Penalties
    ) -> FittedMap:
        if settings.contexts != "both":
            return self._fit_own(settings, train, None, penalties)
        parts = (settings._replace(contexts=part) for part in ("whole", "quarter"))
        return mean_of(*(self._fit_own(part, train, None, penalties) for part in parts))

    def _fit_own(
        self,
        settings: MapSettings,
        train: Sample,
        validation: Sample | None,
        penalties: Penalties | None = None,
    ) -> FittedMap:
        """Fit the map from the latest steps that all targets share: each of them is a row."""
        is_quarter = settings.contexts == "quarter"
        name = "quarter" if is_quarter else "own"
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
        found = self._solve(
            settings.loss,
            rows_of(train),
            None if validation is None else rows_of(validation),
            _compared_steps(horizon),
            self.penalties if penalties is None else [penalties[name]],
        )
        shared = found.intercepts[:, None].expand(-1, num_targets).contiguous()
        # Steps before those that were read have no weight.
        own = functional.pad(found.weights, (0, 0, train.past.shape[2] - num_steps, 0))
        return FittedMap({name: found.penalty}, {name: found.freedom}, own, shared)

    def _fit_every(
        self,
        settings: MapSettings,
        own: FittedMap,
        train: Sample,
        validation: Sample | None,
        near: FittedMap | None = None,
    ) -> FittedMap:
        """Fit a map from all streams to what the map of the targets' own past leaves open.

        near: a map whose penalties are taken, and where the rounds begin.
        """

        def rows_of(sample: Sample) -> _Rows:
            left = (sample.ahead - own.say(sample)).masked_fill(~sample.observed, 0.0)
            unit = sample.unit.expand_as(left)
            return _Rows(
                sample.features, *(part.flatten(1) for part in (left, sample.observed, unit))
            )

        horizon, num_targets = train.ahead.shape[1:]
        outputs = _compared_steps(horizon)[:, None] * num_targets + torch.arange(num_targets)
        kinds, share = self.kinds[settings.reads], train.features.mean(dim=0)
        is_rare = kinds.are("flag") & ((share < RARELY) | (share > 1 - RARELY))
        # A stream on a grid tells its age by the places of its rows. One that is late beyond any of
        # training would be extrapolated from.
        unread = is_rare | kinds.are("one age")
        found = self._solve(
            settings.loss,
            rows_of(train),
            None if validation is None else rows_of(validation),
            outputs.flatten(),
            self.penalties if near is None else [near.penalties["every"]],
            unread,
            None if near is None else near.every,
        )
        weights, shift = _neutral_where_missing(found.weights, kinds, share, is_rare)
        intercepts = own.intercepts + (found.intercepts + shift).reshape(own.intercepts.shape)
        return FittedMap(
            {**own.penalties, "every": found.penalty},
            {**own.freedoms, "every": found.freedom},
            own.own,
            intercepts,
            weights,
        )

    def _solve(
        self,
        loss: str,
        train: _Rows,
        validation: _Rows | None,
        compared: Tensor,
        penalties: Sequence[float],
        unread: Tensor | None = None,
        start: Tensor | None = None,
    ) -> _Solved:
        """Solve with the penalty that is best on validation.

        compared: (output,) int64, those by which the penalty is chosen. Without validation the
        first penalty is taken. Features that never vary over the train rows get no weight, nor do
        those that are not to be read, (feature,). start: weights that are near, (feature, output).
        """
        used = train.observed.any(dim=1)
        if not bool(used.all()):
            train = _Rows(*(part[used] for part in train))
        varies = train.features.amin(dim=0) < train.features.amax(dim=0)
        kept = torch.nonzero(varies if unread is None else varies & ~unread).flatten()
        problem = RidgeProblem(
            train.features[:, kept], train.targets, train.observed, is_robust=loss == "huber"
        )
        penalty = penalties[0]
        if validation is not None:
            rows = validation._replace(features=validation.features[:, kept])
            penalty = self._choose_penalty(problem, rows, compared, penalties)
        every_output = torch.arange(train.targets.shape[1])
        begin = None
        if start is not None:
            begin = Solution(start[kept], train.targets.mean(dim=0) - problem.mean @ start[kept])
        solved, intercepts = next(problem.solve([penalty], every_output, begin))
        weights = torch.zeros(train.features.shape[1], train.targets.shape[1])
        weights[kept] = solved
        return _Solved(penalty, problem.freedom(penalty), weights, intercepts)

    def _choose_penalty(
        self, problem: RidgeProblem, rows: _Rows, compared: Tensor, penalties: Sequence[float]
    ) -> float:
        """Return the penalty of the map that is best on these rows."""
        truth, observed, unit = rows.targets[:, compared], rows.observed[:, compared], rows.unit
        unit = unit[:, compared] if unit.shape[1] > 1 else unit
        errors: dict[float, float] = {}
        solutions = problem.solve(penalties, compared)
        for penalty, (weights, intercepts) in zip(penalties, solutions, strict=True):
            missed = (rows.features @ weights + intercepts - truth) * unit
            error = summed_errors(missed, observed, self.is_robust)
            # A penalty too small to be solved for in the arithmetic used is none to choose.
            errors[penalty] = math.inf if math.isnan(error) else error
            if min(errors.values()) < min(list(errors.values())[-2:]):
                break
        return min(errors, key=errors.__getitem__)


def _neutral_where_missing(
    weights: Tensor, kinds: FeatureKinds, share: Tensor, is_rare: Tensor
) -> tuple[Tensor, Tensor]:
    """Let a name that is missing say what names say on average; return weights and a shift.

    A number that is missing is its mean, but a name that is missing is none of the names. Where
    train windows hardly tell what that means, its flag gets a weight that takes the mean of the
    names away, and the intercepts get it: what is said of names that are there stays the same.
    weights: (feature, output). share: (feature,), the mean over train windows.
    """
    names = torch.nonzero(kinds.are("name") & is_rare[kinds.flag_of]).flatten()
    flags = kinds.flag_of[names]
    said = torch.zeros_like(weights).index_add_(0, flags, share[names, None] * weights[names])
    known = torch.zeros_like(share).index_add_(0, flags, share[names])
    mean = said / known.clamp(min=1e-6)[:, None]
    return weights - mean, mean.sum(dim=0)


def _compared_steps(horizon: int) -> Tensor:
    return torch.linspace(0, horizon - 1, min(horizon, NUM_COMPARED)).round().long()
