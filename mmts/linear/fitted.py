"""What fitting a linear path has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmts.linear.path import LinearConfig, LinearMap, LinearPath, Unit
from mmts.linear.sample import Sample


@dataclass(frozen=True)
class LinearFit:
    """A fitted path.

    config: with nothing left open. maps: by their unit. residuals: (window, horizon, target), of
    train windows, in units of the config's bands, NaN where the target is missing.
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
                path.quantiles[..., place] = quantile_of(self.residuals, float(output))


def quantile_of(residuals: Tensor, level: float) -> Tensor:
    """Return a quantile at each step, (horizon, target); zero where nothing was observed.

    residuals: (window, horizon, target), NaN where the target is missing.
    """
    # Step by step: all at once may be more than torch takes.
    steps = [residuals[:, step].nanquantile(level, dim=0) for step in range(residuals.shape[1])]
    return torch.stack(steps).nan_to_num()


@dataclass(frozen=True)
class FittedMap:
    """A map; see `LinearMap` for the tensors.

    penalties: of its parts, by name. freedoms: likewise, at most how many numbers were fitted to
    the rows of an output.
    """

    penalties: dict[str, float]
    freedoms: dict[str, float]
    own: Tensor
    intercepts: Tensor
    every: Tensor | None = None

    def say(self, sample: Sample) -> Tensor:
        """Return (window, horizon, target), in the unit of the sample, from the level."""
        said = torch.einsum("wts,sh->wht", sample.past, self.own) + self.intercepts
        if self.every is not None:
            said += (sample.features @ self.every).reshape(said.shape)
        return said


def mean_of(first: FittedMap, second: FittedMap) -> FittedMap:
    """Return the mean of two maps of the targets' own past."""
    return FittedMap(
        {**first.penalties, **second.penalties},
        {**first.freedoms, **second.freedoms},
        (first.own + second.own) / 2,
        (first.intercepts + second.intercepts) / 2,
    )
