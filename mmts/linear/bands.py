"""How far the truth lies from what a linear path says: the bands of its quantiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from mmts.linear.confidence import is_better
from mmts.linear.fitted import FittedMap, quantile_of
from mmts.linear.path import Unit
from mmts.linear.sample import Sample

NUM_FOLDS = 4
"""Stretches of time of which each is forecast by maps fitted on the others."""

MANY_ROWS = 50
"""Rows for each number that was fitted to them: with as many, a map misses the windows that it was
fitted on by next to nothing less than others, one part in a hundred."""

OUTER = (0.1, 0.9)
"""Quantiles by which bands are compared, whatever those of the head."""

Samples = Mapping[Unit, Sample]
"""The same windows in each unit of a path."""

Maps = Mapping[Unit, FittedMap]


def miss(maps: Maps, samples: Samples) -> Tensor:
    """Return by how much the path misses, (window, horizon, target), on the train scale.

    NaN where the target is missing.
    """
    said, truth = [], []
    for unit, sample in samples.items():
        said.append(maps[unit].say(sample) * sample.unit)
        truth.append(sample.ahead * sample.unit)
    missed = truth[0] - torch.stack(said).mean(dim=0)
    return missed.masked_fill(~next(iter(samples.values())).observed, torch.nan)


def miss_held_out(
    maps: Maps,
    samples: Samples,
    chosen: Tensor,
    span: int,
    refit: Callable[[Samples], Maps],
) -> Tensor:
    """Return by how much a path misses windows that it was not fitted on, as `miss` does.

    Those that a map of many features was fitted on it misses by less, and bands of so wide would
    hold too little. maps: fitted on all windows of the samples. chosen: places of those that are
    forecast, (window,) int64. span: of a horizon. refit: on fewer windows.
    """
    if not _are_few(maps, samples):
        return miss(maps, {unit: sample.take(chosen) for unit, sample in samples.items()})
    origins = next(iter(samples.values())).origins
    parts, places = [], []
    for inside, outside in _folds(origins, span):
        own = chosen[inside[chosen]]
        if not bool(outside.any()):
            # All of it is one horizon; nothing better is known.
            return miss(maps, {unit: sample.take(chosen) for unit, sample in samples.items()})
        others = refit({unit: sample.take(outside) for unit, sample in samples.items()})
        parts.append(miss(others, {unit: sample.take(own) for unit, sample in samples.items()}))
        places.append(own)
    return torch.cat(parts)[torch.cat(places).argsort()]


def choose_bands(
    held_out: Tensor, spread: Tensor, missed: Tensor, its_spread: Tensor, origins: Tensor, span: int
) -> Unit:
    """Return in which unit bands are better on validation beyond chance.

    held_out: as of train windows. missed: of validation windows, which begin at origins; on the
    train scale. spread, its_spread: of the windows' past, (window, 1, target).
    """
    train, window = (
        _band_losses(missed, [quantile_of(held, level) * size for level in OUTER])
        for held, size in ((held_out, torch.ones(())), (held_out / spread, its_spread))
    )
    return "window" if is_better(train, window, origins, span) else "train"


def _band_losses(missed: Tensor, bands: list[Tensor]) -> Tensor:
    """Return the mean pinball loss of each window, (window,)."""
    losses = torch.zeros(len(missed), dtype=torch.float64)
    for level, band in zip(OUTER, bands, strict=True):
        above = missed - band
        loss = torch.maximum(level * above, (level - 1) * above).double()
        losses += loss.flatten(1).nanmean(dim=1).nan_to_num()
    return losses


def _are_few(maps: Maps, samples: Samples) -> bool:
    """Tell whether the rows that maps were fitted on are few beside what was fitted to them."""
    sample = next(iter(samples.values()))
    num_windows = len(sample) * float(sample.observed.float().mean())
    # A target is a row of the map of its own past.
    rows = {"every": num_windows, "own": num_windows * sample.observed.shape[2]}
    return any(
        freedom * MANY_ROWS > rows.get(part, rows["own"])
        for found in maps.values()
        for part, freedom in found.freedoms.items()
    )


def _folds(origins: Tensor, span: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield which windows are forecast, and which are a horizon or more away from all of those."""
    moments = torch.unique(origins)
    for stretch in moments.chunk(NUM_FOLDS):
        first, last = int(stretch[0]), int(stretch[-1])
        inside = (origins >= first) & (origins <= last)
        yield inside, (origins <= first - span) | (origins >= last + span)
