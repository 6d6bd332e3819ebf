"""One model on the same windows with fewer and fewer streams: how much each is worth."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.data.dataset import Dataset
from mmts.data.schema import DataSchema
from mmts.errors import DataError
from mmts.evaluation.ablation import Ablation, describe_idle, leave_out, shuffle
from mmts.evaluation.report import (
    ALL_TARGETS,
    Array,
    Evaluation,
    Scores,
    WindowForecasts,
    to_plain,
)
from mmts.evaluation.rolling import naive_scales
from mmts.evaluation.scoring import Scorer
from mmts.forecasting import Forecaster

MAX_OTHERS = 4
"""Streams beside the target's up to which every subset is scored: 16 of them."""

MAX_BLOCKS = 12
"""Blocks of origins from which a standard error is estimated."""

MIN_HORIZONS = 2
"""Length of a block at least, in horizons: windows reach from one block into the next."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """A change in MAE, in percent of the MAE it is compared with, and its standard error.

    NaN where one is not defined: against an error of zero, or from a single block.
    """

    percent: float
    standard_error: float


@dataclass(frozen=True)
class SubsetScores:
    """How the model fares with some of its streams.

    name: such as `without weather`. scores, changes: per target and for `ALL_TARGETS`.
    """

    name: str
    ablation: Ablation
    scores: dict[str, Scores]
    changes: dict[str, Change]


@dataclass(frozen=True)
class Subsets:
    """Scores with every subset of streams; the first is what all others are compared with.

    num_blocks: blocks of origins behind each standard error.
    notes: shuffled streams in which nothing could change places.
    """

    targets: tuple[str, ...]
    rows: tuple[SubsetScores, ...]
    num_blocks: int
    notes: tuple[str, ...]

    @property
    def method(self) -> str:
        """Say what the changes are."""
        return (
            f"change in MAE against {self.rows[0].name!r}, ± one standard error from "
            f"{self.num_blocks} blocks of origins"
        )

    def table(self) -> pd.DataFrame:
        """Return a row per subset and target; the change in percent of the first subset's MAE."""
        return pd.DataFrame(
            [
                {
                    "subset": row.name,
                    "without": ", ".join(row.ablation.without),
                    "shuffled": ", ".join(row.ablation.shuffled),
                    "target": target,
                    **asdict(row.scores[target]),
                    "mae_change_percent": row.changes[target].percent,
                    "mae_change_standard_error": row.changes[target].standard_error,
                }
                for row in self.rows
                for target in self.targets
            ]
        )

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rows as plain JSON values; null where a number is not defined."""
        found: list[dict[str, Any]] = to_plain(
            [
                {
                    "subset": row.name,
                    **asdict(row.ablation),
                    "scores": {target: asdict(scores) for target, scores in row.scores.items()},
                    "mae_change": {target: asdict(found) for target, found in row.changes.items()},
                    "num_blocks": self.num_blocks,
                }
                for row in self.rows
            ]
        )
        return found


def list_subsets(schema: DataSchema, base: Ablation) -> tuple[Ablation, ...]:
    """List what is to be compared: all streams, fewer and fewer, and each one shuffled.

    base: what is missing or shuffled throughout. With up to `MAX_OTHERS` streams beside the
    target's these are all subsets; with more, each one left out and the target's alone.
    Raises DataError when there is no stream to leave out.
    """
    others = [
        name for name in schema.streams if name != schema.target_stream and name not in base.without
    ]
    if not others:
        raise DataError(
            f"the model reads stream {schema.target_stream!r} alone, so that it has no subsets. "
            "Evaluate it without them."
        )
    sizes = range(1, len(others) + 1) if len(others) <= MAX_OTHERS else (1, len(others))
    fewer = [
        Ablation(
            tuple(name for name in schema.streams if name in (*base.without, *left_out)),
            tuple(name for name in base.shuffled if name not in left_out),
        )
        for size in sizes
        for left_out in combinations(others, size)
    ]
    scrambled = [
        Ablation(base.without, tuple(n for n in schema.streams if n in (*base.shuffled, name)))
        for name in others
        if name not in base.shuffled
    ]
    return (base, *fewer, *scrambled)


def score_subsets(
    forecaster: Forecaster,
    dataset: Dataset,
    evaluation: Evaluation,
    ablations: Sequence[Ablation],
) -> Subsets:
    """Score the model once for each of these, on the windows of the evaluation.

    ablations: as `list_subsets` gives them; the first is that of the evaluation.
    """
    assert ablations[0] == evaluation.ablation
    base = evaluation.windows
    blocks = block_origins(base.origins, dataset.schema.horizon * dataset.schema.frequency)
    errors = _errors_by_block(base, blocks)
    scales = naive_scales(forecaster, dataset, evaluation.season)
    names = (*evaluation.targets, ALL_TARGETS)
    rows = []
    for number, ablation in enumerate(ablations, start=1):
        name = _name(ablation, dataset.schema)
        windows = base
        if ablation != evaluation.ablation:
            logger.info("subset %d of %d: %s", number, len(ablations), name)
            windows = _forecast(forecaster, dataset, evaluation, ablation)
        found = Scorer(windows, scales, evaluation.targets).score_model()
        changes = _errors_by_block(windows, blocks)
        rows.append(
            SubsetScores(
                name,
                ablation,
                scores={target: found[target].overall for target in names},
                changes={
                    target: compare(changes[:, place], errors[:, place])
                    for place, target in enumerate(names)
                },
            )
        )
    shuffled = {name: None for ablation in ablations for name in ablation.shuffled}
    notes = tuple(describe_idle(dataset, list(shuffled)))
    return Subsets(evaluation.targets, tuple(rows), int(blocks.max()) + 1, notes)


def block_origins(origins: npt.NDArray[np.int64], horizon: int) -> npt.NDArray[np.int64]:
    """Return the block of time that each origin lies in, (window,), from 0 without gaps.

    horizon: in the unit of the origins. The span is cut into `MAX_BLOCKS` equal parts, or fewer,
    so that none is shorter than `MIN_HORIZONS`. Blocks without an origin are not counted.
    """
    first, last = int(origins.min()), int(origins.max())
    num_blocks = max(1, min(MAX_BLOCKS, (last - first) // (MIN_HORIZONS * horizon)))
    edges = np.linspace(first, last, num_blocks + 1)[1:-1]
    places = np.searchsorted(edges, origins, side="right")
    return np.unique(places, return_inverse=True)[1].astype(np.int64)


def compare(errors: Array, base: Array) -> Change:
    """Return the change of a mean error against another on the same values, with its spread.

    errors, base: (block,), summed absolute errors of the same values, in blocks of time.
    The change is the ratio of both totals; its standard error is that of a ratio of paired block
    sums, by linearisation: what each block would add if every block had the ratio of the whole.
    Windows that follow one another share most of their values, and parallel items their weather,
    so single errors are far from independent; sums over blocks that are long beside the horizon
    nearly are, and as both come from the same windows, what makes a block hard for both drops
    out. Forecasts that are the same therefore give exactly 0 with a standard error of exactly 0.
    Where errors last as long as a block does it is still somewhat too small: take a change of
    less than three standard errors as none. Of few blocks it is made larger, so that three of them
    say no more than 99 % by Student's t. It knows nothing of how another training would differ.
    Source: batch means, Schmeiser, Batch size effects in the analysis of simulation output,
    Operations Research 30 (1982); ratio estimators, Cochran, Sampling Techniques (1977), 6.4.
    """
    total = float(base.sum())
    if total == 0:
        return Change(math.nan, math.nan)
    ratio = float(errors.sum()) / total
    percent = 100 * (ratio - 1)
    count = len(base)
    if count < 2:
        return Change(percent, math.nan)
    surplus = errors - ratio * base
    spread = math.sqrt(count / (count - 1) * float((surplus**2).sum()))
    return Change(percent, 100 * spread / total * _widen(count))


def _widen(num_blocks: int) -> float:
    """Return by how much a standard error counts for more, as it comes from so few blocks."""
    from scipy.stats import t  # Heavy, and not needed for a forecast.

    return max(1.0, float(t.ppf(0.995, num_blocks - 1)) / 3)


def _forecast(
    forecaster: Forecaster, dataset: Dataset, evaluation: Evaluation, ablation: Ablation
) -> WindowForecasts:
    read = shuffle(leave_out(dataset, ablation.without), ablation.shuffled)
    gatherer = read.windows(evaluation.split)
    base = evaluation.windows
    assert np.array_equal(gatherer.windows.origins.numpy(), base.origins)
    return replace(base, forecast=forecaster.predict_windows(gatherer))


def _errors_by_block(windows: WindowForecasts, blocks: npt.NDArray[np.int64]) -> Array:
    """Return summed absolute errors, (block, target), and those of all targets in a last column."""
    missed = np.abs(windows.point("0.5", "mean") - windows.actual)
    by_window = np.where(windows.observed, missed, 0.0).sum(axis=1)
    sums = np.zeros((int(blocks.max()) + 1, by_window.shape[1]))
    np.add.at(sums, blocks, by_window)
    return np.concatenate([sums, sums.sum(axis=1, keepdims=True)], axis=1)


def _name(ablation: Ablation, schema: DataSchema) -> str:
    parts = []
    if len(ablation.without) == len(schema.streams) - 1:
        parts.append(f"only {schema.target_stream}")
    elif ablation.without:
        parts.append(f"without {', '.join(ablation.without)}")
    if ablation.shuffled:
        parts.append(f"{', '.join(ablation.shuffled)} shuffled")
    return "; ".join(parts) or "all"
