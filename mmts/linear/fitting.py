"""Finding a linear path in closed form: what it reads and how far back, chosen on validation."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from mmts.data.gathering import WindowGatherer
from mmts.linear.confidence import is_better
from mmts.linear.features import Level, WindowFeatures
from mmts.linear.path import LinearConfig, LinearMap, LinearPath, Unit
from mmts.linear.regression import RidgeProblem
from mmts.linear.sample import Sample, lay_out

PENALTIES = tuple(10.0**exponent for exponent in range(2, -7, -1))
"""Penalties to choose from, per train window: with 1,000 windows these are 10^5 to 10^-3. Smaller
ones are tried until two in a row were no better."""

MAX_NUMBERS = 2**27
"""Numbers that are kept of all windows, 512 MiB; of more windows evenly spread ones are taken."""

NUM_COMPARED = 6
"""Steps at which penalties are compared: to solve for every step takes longer."""

MAX_RESIDUALS = 4096
"""Train windows by whose residuals quantiles are set; of more, evenly spread ones."""

MAX_WEIGHTS = 2**24
"""Features times outputs up to which all streams are read, 64 MiB in each checkpoint."""

CHOICES: dict[str, tuple[Any, ...]] = {
    "loss": ("squares", "huber"),
    "level": ("last", "mean"),
    "reads": ("own", "all"),
    "recent": (1.0, 0.5, 0.25),
    "units": ("train", "both"),
    "contexts": ("whole", "both"),
}
"""What `auto` chooses from, the simplest first, in the order in which it is settled. Never a level
of zero: a validation split near the train split cannot tell that the level will drift away."""

ALIKE = ("loss", "contexts")
"""Choices of which none is simpler than the other: the one with the smaller errors is taken. The
loss is settled on the map of the target's own past, and not again for richer maps. A mean of
contexts is tried where that map is all there is: one from all streams makes up for the rest."""

QUARTER = 4
"""The shorter of two contexts is so many times shorter than the whole one."""

MIN_WINDOWS = 200
"""Train windows that a share of them must hold to be tried."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinearFit:
    """A fitted path.

    config: with nothing left open. maps: by their unit. residuals: (window, horizon, target), of
    train windows, NaN where the target is missing.
    """

    config: LinearConfig
    maps: dict[Unit, FittedMap]
    residuals: Tensor

    def choices(self) -> dict[str, Any]:
        """Return how the path was fitted, for a report; what was left open is as chosen."""
        penalties = {
            f"{name}_{unit}": penalty
            for unit, found in self.maps.items()
            for name, penalty in found.penalties.items()
        }
        return {**self.config.model_dump(), "penalties": penalties}

    def write_into(self, path: LinearPath, outputs: Sequence[str]) -> None:
        """Give a path that was built for the fit's config these maps.

        outputs: of the head, `mean` or quantile levels; each level begins as far from the maps as
        the residuals of the train windows say.
        """
        for found, one_map in zip(self.maps.values(), path.maps, strict=True):
            assert isinstance(one_map, LinearMap)
            one_map.own.copy_(found.own)
            one_map.intercepts.copy_(found.intercepts)
            if one_map.every is not None and found.every is not None:
                one_map.every.copy_(found.every)
        for place, output in enumerate(outputs):
            if output != "mean":
                for step in range(len(path.quantiles)):
                    below = self.residuals[:, step].nanquantile(float(output), dim=0)
                    path.quantiles[step, :, place] = below.nan_to_num()


@dataclass(frozen=True)
class FittedMap:
    """A map and the penalties of its parts, by name; see `LinearMap` for the tensors."""

    penalties: dict[str, float]
    own: Tensor
    intercepts: Tensor
    every: Tensor | None = None

    def say(self, sample: Sample) -> Tensor:
        """Return (window, horizon, target), in the unit of the sample, from the level."""
        said = torch.einsum("wts,sh->wht", sample.past, self.own) + self.intercepts
        if self.every is not None:
            said += (sample.features @ self.every).reshape(said.shape)
        return said


class _Errors(NamedTuple):
    """Means within each validation window of the errors' sizes and squares, (window,) float64."""

    sizes: Tensor
    squares: Tensor

    def overall(self, is_robust: bool) -> float:
        """Return one number for all windows; by sizes and squares alike where that is robust.

        What makes small errors smaller by a hair and large ones larger by percents is no gain.
        """
        squares = self.squares.mean()
        return float(self.sizes.mean() * squares.sqrt() if is_robust else squares)


class _How(NamedTuple):
    """loss: that is minimised. contexts: as in the config, or `quarter` for the shorter one."""

    loss: str
    contexts: str


class _Rows(NamedTuple):
    """features: (row, feature). targets, observed: (row, output). unit: the same, or (row, 1)."""

    features: Tensor
    targets: Tensor
    observed: Tensor
    unit: Tensor


def fit_linear(
    train: WindowGatherer,
    validation: WindowGatherer,
    category_sizes: Mapping[str, Mapping[str, int]],
    config: LinearConfig,
    is_robust: bool,
    penalties: Sequence[float] = PENALTIES,
) -> LinearFit:
    """Fit by ridge regression, which penalises the squares of the weights.

    One map from the past of a target to what follows, the same for all targets; then one from all
    streams to what that leaves open. Penalties are those with the least error on the validation
    windows, and so is whether outliers count less, and whether the first map is the mean of one
    from the whole context and one from its latest quarter: the mean of forecasts is often better
    than each (Bates and Granger, The combination of forecasts, 1969). Whatever else departs from
    the simplest path must be better there beyond chance: another level than the last value, to
    read all streams, to leave out older train windows, and to measure in two units.

    is_robust: whether errors are compared by their size, and outliers may count less; else by
    their squares.
    penalties: to choose from, per train window, falling.
    """
    return _Search(train, validation, category_sizes, config, is_robust, penalties).run()


class _Search:
    """Candidates that are held against each other, the simpler ones first."""

    def __init__(
        self,
        train: WindowGatherer,
        validation: WindowGatherer,
        category_sizes: Mapping[str, Mapping[str, int]],
        config: LinearConfig,
        is_robust: bool,
        penalties: Sequence[float],
    ) -> None:
        self.windows = (train, validation)
        self.config, self.is_robust, self.penalties = config, is_robust, penalties
        self.span = train.schema.horizon * train.schema.frequency
        self.category_sizes = category_sizes
        features = WindowFeatures(train.schema, category_sizes, calendar=config.calendar)
        num_outputs = train.schema.horizon * len(train.schema.target_columns)
        is_small = features.num_features * num_outputs <= MAX_WEIGHTS
        if config.reads == "auto" and not is_small:
            logger.info(
                "linear path: a map from all streams is too large, the target's past is read"
            )
        self.may_read_all = config.reads == "all" or (config.reads == "auto" and is_small)
        numbers = train.schema.target.context_steps * len(train.schema.target_columns)
        numbers += features.num_features if self.may_read_all else 0
        self.strides = [max(1, -(-len(split) * numbers // MAX_NUMBERS)) for split in self.windows]
        self.origins = validation.windows.origins[:: self.strides[1]]
        self.samples: dict[tuple[Level, Unit, bool], tuple[Sample, Sample]] = {}
        self.fitted: dict[tuple[Any, ...], FittedMap] = {}

    def run(self) -> LinearFit:
        """Return the candidate that no richer one is better than beyond chance."""
        settings = dict(self.config)
        simplest = {n: v[0] for n, v in CHOICES.items() if settings[n] == "auto"}
        best, errors = self._try(settings | simplest)
        for name, values in CHOICES.items():
            for value in values[1:] if settings[name] == "auto" else ():
                choice = {**dict(best.config), name: value}
                if self._is_possible(choice):
                    other, its_errors = self._try(choice)
                    if self._is_better(name, errors, its_errors):
                        best, errors = other, its_errors
        return best

    def _is_better(self, name: str, errors: _Errors, others: _Errors) -> bool:
        if name in ALIKE:
            return others.overall(self.is_robust) < errors.overall(self.is_robust)
        simple, rich = (one.sizes if self.is_robust else one.squares for one in (errors, others))
        return is_better(simple, rich, self.origins, self.span)

    def _is_possible(self, choice: Mapping[str, Any]) -> bool:
        num_windows = len(self.windows[0]) * choice["recent"]
        may_read = choice["reads"] == "own" or self.may_read_all
        if choice["loss"] == "huber" and self.config.loss == "auto" and not self.is_robust:
            return False
        if choice["contexts"] == "both" and choice["reads"] == "all":
            return False
        return may_read and (choice["recent"] == 1 or num_windows >= MIN_WINDOWS)

    def _try(self, choice: Mapping[str, Any]) -> tuple[LinearFit, _Errors]:
        """Return a candidate, and its errors on validation."""
        config = LinearConfig.model_validate(choice)
        level, reads, share = choice["level"], choice["reads"], choice["recent"]
        how = _How(choice["loss"], choice["contexts"])
        units = config.all_units
        maps = {unit: self._fit(how, level, unit, reads, share) for unit in units}

        def miss(place: int, share: float, count: int) -> tuple[Tensor, Tensor]:
            samples = {u: self._sample(level, u, reads)[place].latest(share) for u in units}
            samples = {unit: sample.spread(count) for unit, sample in samples.items()}
            said = [maps[u].say(sample) * sample.unit for u, sample in samples.items()]
            truth = samples["train"]
            return truth.ahead - torch.stack(said).mean(dim=0), truth.observed

        missed, observed = miss(0, share, MAX_RESIDUALS)
        fit = LinearFit(config, maps, missed.masked_fill(~observed, torch.nan))
        missed, observed = miss(1, 1.0, len(self.windows[1]))
        missed = missed.double().masked_fill(~observed, 0.0)
        count = observed.sum(dim=(1, 2)).clamp(min=1)
        sums = (losses.sum(dim=(1, 2)) for losses in (missed.abs(), missed.square()))
        return fit, _Errors(*(total / count for total in sums))

    def _losses(self, missed: Tensor) -> Tensor:
        return missed.double().abs() if self.is_robust else missed.double().square()

    def _sample(self, level: Level, unit: Unit, reads: str) -> tuple[Sample, Sample]:
        """Return the train and the validation windows."""
        reads_all = reads == "all"
        key = (level, unit, reads_all)
        if key not in self.samples:
            schema = self.windows[0].schema
            features = (
                WindowFeatures(schema, self.category_sizes, level, self.config.calendar)
                if reads_all
                else None
            )
            train, validation = (
                lay_out(windows, stride, level, unit, features)
                for windows, stride in zip(self.windows, self.strides, strict=True)
            )
            self.samples[key] = (train, validation)
        return self.samples[key]

    def _fit(self, how: _How, level: Level, unit: Unit, reads: str, share: float) -> FittedMap:
        key = (how, level, unit, reads, share)
        if key not in self.fitted:
            self.fitted[key] = self._fit_anew(how, level, unit, reads, share)
        return self.fitted[key]

    def _fit_anew(self, how: _How, level: Level, unit: Unit, reads: str, share: float) -> FittedMap:
        if reads == "own" and how.contexts == "both":
            whole = self._fit(how._replace(contexts="whole"), level, unit, reads, share)
            return _mean_of(
                whole, self._fit(how._replace(contexts="quarter"), level, unit, reads, share)
            )
        train, validation = self._sample(level, unit, reads)
        train = train.latest(share)
        if reads == "own":
            num_steps = self._quarter() if how.contexts == "quarter" else train.past.shape[2]
            return self._fit_own(how, num_steps, train, validation)
        own = self._fit(how, level, unit, "own", share)
        return self._fit_every(how.loss, own, train, validation)

    def _quarter(self) -> int:
        return max(1, self.windows[0].schema.target.context_steps // QUARTER)

    def _fit_own(self, how: _How, num_steps: int, train: Sample, validation: Sample) -> FittedMap:
        """Fit the map from the latest steps that all targets share: each of them is a row."""

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
            how.loss, rows_of(train), rows_of(validation), _compared_steps(horizon)
        )
        shared = intercepts[:, None].expand(-1, num_targets).contiguous()
        # Steps before those that were read have no weight.
        own = functional.pad(weights, (0, 0, train.past.shape[2] - num_steps, 0))
        name = "quarter" if how.contexts == "quarter" else "own"
        return FittedMap({name: penalty}, own, shared)

    def _fit_every(self, loss: str, own: FittedMap, train: Sample, validation: Sample) -> FittedMap:
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
            loss, rows_of(train), rows_of(validation), outputs.flatten()
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
            losses = self._losses((features @ weights + intercepts - truth) * unit)
            error = float(losses.masked_fill(~observed, 0.0).sum())
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


def _mean_of(first: FittedMap, second: FittedMap) -> FittedMap:
    """Return the mean of two maps of the targets' own past."""
    return FittedMap(
        {**first.penalties, **second.penalties},
        (first.own + second.own) / 2,
        (first.intercepts + second.intercepts) / 2,
    )


def _compared_steps(horizon: int) -> Tensor:
    return torch.linspace(0, horizon - 1, min(horizon, NUM_COMPARED)).round().long()
