"""Finding a linear path in closed form: what it reads and how far back, chosen on validation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmts.data.gathering import WindowGatherer
from mmts.data.schema import DataSchema
from mmts.linear.bands import Samples, choose_bands, miss, miss_held_out
from mmts.linear.errors import WindowErrors
from mmts.linear.features import WindowFeatures
from mmts.linear.fitted import FittedMap, LinearFit
from mmts.linear.map_fitting import PENALTIES, MapFitter, MapSettings
from mmts.linear.path import READS_IN_WORDS, LinearConfig, Reads, Unit
from mmts.linear.sample import choose_spread

MAX_RESIDUALS = 4096
"""Train windows by whose residuals quantiles are set; of more, some that are spread over all."""

MAX_WEIGHTS = 2**24
"""Features times outputs up to which more is read than the target's past, 64 MiB in each
checkpoint."""

CHOICES: dict[str, tuple[Any, ...]] = {
    "loss": ("squares", "huber"),
    "level": ("last", "mean"),
    "reads": ("own", "without_texts", "all"),
    "recent": (1.0, 0.5, 0.25),
    "units": ("train", "both"),
    "contexts": ("whole", "both"),
}
"""What `auto` chooses from, the simplest first, in the order in which it is settled. Never a level
of zero: a validation split near the train split cannot tell that the level will drift away."""

ALIKE = ("loss", "contexts")
"""Choices whose values may be as good as each other: the one with the smaller errors is taken, be
it by chance. The loss is settled on the map of the target's own past, and not again for richer
maps. A mean of contexts is tried where that map is all there is: one from all streams makes up for
the rest."""

MIN_WINDOWS = 200
"""Train windows that a share of them must hold to be tried."""

logger = logging.getLogger(__name__)


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
    read all streams, their texts as well, to leave out older train windows, and to measure in two
    units.

    is_robust: whether errors are compared by their size as much as by their squares, and outliers
    may count less; else by their squares alone.
    penalties: to choose from, per train window, falling.
    """
    return _Search(train, validation, category_sizes, config, is_robust, penalties).run()


@dataclass(frozen=True)
class _Candidate:
    """A path that was tried, and its errors on validation. settings: of its maps, by their unit."""

    choice: Mapping[str, Any]
    settings: Mapping[Unit, MapSettings]
    maps: dict[Unit, FittedMap]
    errors: WindowErrors


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
        self.config, self.is_robust = config, is_robust
        schema, self.num_windows = train.schema, len(train)
        self.span = schema.horizon * schema.frequency
        self.readable = _readable(config, schema, category_sizes)
        self.fitter = MapFitter(
            train,
            validation,
            category_sizes,
            config.calendar,
            is_robust,
            penalties,
            num_features=sum(self.readable.values()),
        )

    def run(self) -> LinearFit:
        """Return the candidate that no richer one is better than beyond chance."""
        settings = dict(self.config)
        simplest = {n: v[0] for n, v in CHOICES.items() if settings[n] == "auto"}
        best = self._try(settings | simplest)
        for name, values in CHOICES.items():
            for value in values[1:] if settings[name] == "auto" else ():
                choice = {**best.choice, name: value}
                if self._is_possible(choice):
                    other = self._try(choice)
                    if self._is_better(name, best.errors, other.errors):
                        best = other
        return self._finish(best)

    def _is_better(self, name: str, errors: WindowErrors, others: WindowErrors) -> bool:
        if name in ALIKE:
            return others.overall(self.is_robust) < errors.overall(self.is_robust)
        return others.are_surely_less(errors, self.fitter.origins, self.span, self.is_robust)

    def _is_possible(self, choice: Mapping[str, Any]) -> bool:
        num_windows = self.num_windows * choice["recent"]
        if choice["loss"] == "huber" and self.config.loss == "auto" and not self.is_robust:
            return False
        reads_both = choice["contexts"] == "both" and self.config.contexts == "auto"
        if reads_both and choice["reads"] != "own":
            return False
        is_long = choice["recent"] == 1 or num_windows >= MIN_WINDOWS
        return is_long and choice["reads"] in self.readable

    def _try(self, choice: Mapping[str, Any]) -> _Candidate:
        wanted = {name: choice[name] for name in MapSettings._fields if name != "unit"}
        units = LinearConfig.model_validate(choice).all_units
        settings = {unit: MapSettings(**wanted, unit=unit) for unit in units}
        maps = {unit: self.fitter.fit(one) for unit, one in settings.items()}
        missed = miss(maps, self._validation(settings))
        return _Candidate(choice, settings, maps, WindowErrors.of(missed))

    def _train(self, settings: Mapping[Unit, MapSettings]) -> Samples:
        """Return the windows that a candidate was fitted on."""
        return {
            unit: self.fitter.sample(one.level, unit, one.reads)[0].latest(one.recent)
            for unit, one in settings.items()
        }

    def _validation(self, settings: Mapping[Unit, MapSettings]) -> Samples:
        """Return the windows that a candidate is judged on."""
        return {
            unit: self.fitter.sample(one.level, unit, one.reads)[1]
            for unit, one in settings.items()
        }

    def _finish(self, best: _Candidate) -> LinearFit:
        """Return the fit of a candidate, with the residuals that its bands are made of."""
        train = self._train(best.settings)
        windows = next(iter(train.values()))
        chosen = choose_spread(len(windows), MAX_RESIDUALS)

        def refit(samples: Samples) -> dict[Unit, FittedMap]:
            return {
                unit: self.fitter.refit(one, best.maps[unit], samples[unit])
                for unit, one in best.settings.items()
            }

        residuals = miss_held_out(best.maps, train, chosen, self.span, refit)
        bands, spread = self.config.bands, windows.spread[chosen]
        if bands == "auto":
            bands = "train"
            # Where errors count by their squares alone there are no quantiles.
            if self.is_robust:
                validation = self._validation(best.settings)
                later = next(iter(validation.values()))
                missed = miss(best.maps, validation)
                bands = choose_bands(
                    residuals, spread, missed, later.spread, later.origins, self.span
                )
        config = LinearConfig.model_validate({**best.choice, "bands": bands})
        return LinearFit(config, best.maps, residuals / spread if bands == "window" else residuals)


def _readable(
    config: LinearConfig, schema: DataSchema, category_sizes: Mapping[str, Mapping[str, int]]
) -> dict[Reads, int]:
    """Return what may be read, and how many features beside the targets' past that makes."""
    parts: tuple[Reads, ...] = ("without_texts", "all")
    counts = {
        reads: WindowFeatures(
            schema, category_sizes, calendar=config.calendar, with_texts=reads == "all"
        ).num_features
        for reads in parts
    }
    if config.reads != "auto":
        return {config.reads: counts.get(config.reads, 0)}
    if counts["without_texts"] == counts["all"]:
        del counts["without_texts"]
    num_outputs = schema.horizon * len(schema.target_columns)
    small = {reads: count for reads, count in counts.items() if count * num_outputs <= MAX_WEIGHTS}
    readable: dict[Reads, int] = {"own": 0, **small}
    if "all" not in readable:
        richest = READS_IN_WORDS[list(readable)[-1]]
        logger.info(
            "linear path: a map from all streams is too large; at most it reads %s", richest
        )
    return readable
