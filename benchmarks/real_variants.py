"""The ways to bring streams together that are compared, all with the same number of weights."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from early_table import write_early

from mmts.checkpoint import build_model
from mmts.config import ExperimentConfig, resolve_config, validate_config
from mmts.data.dataset import Dataset, load_dataset

PRESETS = ("none", "last", "ladder", "lowlevel", "dense", "bottleneck")
EARLY, ONE_TABLE, SINGLE = "early", "one_table", "single"
VARIANTS = (*PRESETS, EARLY, ONE_TABLE, SINGLE)

SINGLE_KINDS = ("film", "attention")
"""Kinds among which the best single edge is looked for."""

TOLERANCE, CLOSE = 0.05, 0.02
"""By how much the number of weights may miss what was asked for, and with what the search ends."""

Settings = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One way, ready to be trained.

    settings: a whole resolved experiment as JSON values, but for the seed.
    """

    name: str
    settings: Settings
    num_weights: int

    def config(self, seed: int) -> ExperimentConfig:
        """Return the experiment with a seed."""
        return ExperimentConfig.model_validate({**self.settings, "seed": seed})


class VariantBuilder:
    """Makes the variants of one set."""

    def __init__(self, config: ExperimentConfig, num_weights: int, folder: Path) -> None:
        """Read the data; folder: where joined tables are written."""
        self.base = config
        self.num_weights = num_weights
        self.folder = folder
        self.dataset = load_dataset(config.data)

    def build(self, name: str) -> list[Variant]:
        """Return a variant by its name; for `single`, every edge that may be chosen."""
        if name == SINGLE:
            return list(self._singles())
        if name in (EARLY, ONE_TABLE):
            folder = self.folder / name
            folder.mkdir()
            settings = write_early(self.dataset, self.base, folder, name == ONE_TABLE)
            return [self._fit(name, settings)]
        settings = self.base.to_json()
        settings["model"]["interactions"] = [{"preset": name}]
        return [self._fit(name, settings)]

    def _singles(self) -> Iterator[Variant]:
        """Yield an edge of each kind from each other stream into the middle of the target's depth.

        It starts at the stream's first layer, the one after the embedding.
        """
        target = self.dataset.schema.target_stream
        depth = self.base.model.encoders[target].num_layers
        to = f"{target}.{(depth + 1) // 2}"
        for stream in self.dataset.schema.streams:
            for kind in SINGLE_KINDS if stream != target else ():
                settings = self.base.to_json()
                edge = {"kind": kind, "from": f"{stream}.1", "to": to}
                settings["model"]["interactions"] = [edge]
                yield self._fit(f"{SINGLE}: {kind} {stream}.1 to {to}", settings)

    def _fit(self, name: str, settings: Settings) -> Variant:
        """Choose the widths and check the windows; they must be those of all other variants."""
        config = _resolve(settings, name)
        dataset = self.dataset
        if name in (EARLY, ONE_TABLE):
            dataset = load_dataset(config.data)
            for split in ("train", "validation", "test"):
                own, others = dataset.origins[split], self.dataset.origins[split]
                assert own.origins.equal(others.origins)
                assert own.items.equal(others.items)
        settings, count = match_size(config.to_json(), dataset, self.num_weights)
        return Variant(name, settings, count)


def match_size(settings: Settings, dataset: Dataset, num_weights: int) -> tuple[Settings, int]:
    """Scale all widths by one factor so that the model has about this many weights.

    Then the widths of the target stream, the head and the other streams are moved by a step or
    two, no further than it takes to come within `CLOSE`.
    Returns the resolved settings and their number of weights. Raises ValueError when no widths
    come within `TOLERANCE`.
    """
    target = dataset.schema.target_stream

    def build(factor: float, steps: Sequence[int]) -> tuple[Settings, int]:
        config = _resolve(_scale(settings, factor, target, *steps), "widths")
        # Weights are only counted, and need not be drawn.
        with torch.device("meta"):
            model = build_model(config, dataset.schema, dataset.scaling)
        return config.to_json(), sum(p.numel() for p in model.parameters())

    def miss(found: tuple[Settings, int]) -> float:
        return abs(found[1] / num_weights - 1)

    factors = np.geomspace(0.2, 5, 129).tolist()
    place = bisect_left(factors, num_weights, key=lambda factor: build(factor, (0, 0, 0))[1])
    around = factors[max(0, place - 1) : place + 1]
    best = min((build(factor, (0, 0, 0)) for factor in around), key=miss)
    few, more = (-1, 0, 1), (-2, -1, 0, 1, 2)
    others = more if len(settings["model"]["encoders"]) > 1 else (0,)
    moves = sorted(product(few, more, others), key=lambda steps: np.abs(steps).sum())
    for factor, steps in product(around, moves):
        if miss(best) <= CLOSE:
            break
        best = min(best, build(factor, steps), key=miss)
    if miss(best) > TOLERANCE:
        raise ValueError(f"{best[1]} weights are as near to {num_weights} as these widths come")
    return best


def _scale(
    settings: Settings,
    factor: float,
    target: str,
    target_steps: int,
    head_steps: int,
    other_steps: int,
) -> Settings:
    scaled = copy.deepcopy(settings)
    encoders, head = scaled["model"]["encoders"], scaled["model"]["head"]

    for name, encoder in encoders.items():
        if name == target:
            # A multiple of 8 has room for four heads; half a step further there are fewer.
            encoder["dim"] = max(8, 8 * round(encoder["dim"] * factor / 8) + 4 * target_steps)
        else:
            encoder["dim"] = max(4, 2 * round(encoder["dim"] * factor / 2) + 2 * other_steps)
    head["dim"] = max(8, 8 * round(head["dim"] * factor / 8) + 4 * head_steps)
    return scaled


def _resolve(settings: Settings, where: str) -> ExperimentConfig:
    config = validate_config(settings, where)
    return resolve_config(config, Path(config.data.root))
