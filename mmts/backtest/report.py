"""What a backtest finds, and how it says so."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from mmts.backtest.comparison import Comparison
from mmts.evaluation.report import (
    ALL_TARGETS,
    BASELINES,
    MODEL,
    Scores,
    join_words,
    say_gain,
    say_loss,
    to_plain,
)
from mmts.score_text import say_score

MEASURES = tuple(field.name for field in fields(Scores))


@dataclass(frozen=True)
class CutoffScores:
    """What was scored at one cut-off.

    num_items: with a window there. num_values: observed in these windows, per target and for
        `ALL_TARGETS`.
    season, ridge, num_train_windows, epoch: as in `CutoffForecasts`.
    scores: per method, per target and for `ALL_TARGETS`.
    """

    cutoff: str
    num_items: int
    num_values: dict[str, int]
    season: int
    ridge: dict[str, Any]
    num_train_windows: int
    epoch: int
    scores: dict[str, dict[str, Scores]]


@dataclass(frozen=True)
class Spread:
    """Mean over cut-offs, and standard deviation between them; NaN where not defined."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Backtest:
    """A model beside its baselines at a row of cut-offs.

    cutoffs: in time. by_step: scores of each step of the horizon, over the values of all cut-offs;
    per method, per target and for `ALL_TARGETS`. values_by_step: how many these are.
    comparisons: of the model with each baseline in MAE, per target.
    step, frequency: from cut-off to cut-off, in steps, and how long a step is.
    forecasts: the long table. nominal_coverage: of `coverage`; None without quantiles.
    """

    targets: tuple[str, ...]
    split: str
    is_refit: bool
    step: int
    frequency: str
    cutoffs: tuple[CutoffScores, ...]
    by_step: dict[str, dict[str, tuple[Scores, ...]]]
    values_by_step: dict[str, tuple[int, ...]]
    comparisons: dict[str, dict[str, Comparison]]
    forecasts: pd.DataFrame
    nominal_coverage: float | None
    notes: tuple[str, ...]
    run_id: str | None

    @property
    def all_targets(self) -> tuple[str, ...]:
        """All targets, and `ALL_TARGETS` where there are several."""
        return self.targets if len(self.targets) == 1 else (*self.targets, ALL_TARGETS)

    @property
    def setting(self) -> str:
        """Say which cut-offs these are."""
        count = len(self.cutoffs)
        steps = f"{self.step} step{'s' if self.step > 1 else ''} of {self.frequency}"
        trained = "a model trained before each" if self.is_refit else "one model, not trained again"
        if count == 1:
            return f"1 cut-off, {self.cutoffs[0].cutoff}; {trained}"
        return (
            f"{count} cut-offs, {self.cutoffs[0].cutoff} to {self.cutoffs[-1].cutoff}, "
            f"{steps} apart; {trained}"
        )

    def spread(self, method: str, target: str, measure: str) -> Spread:
        """Return mean and deviation of a measure over the cut-offs at which it is defined."""
        found = np.array([getattr(c.scores[method][target], measure) for c in self.cutoffs])
        found = found[np.isfinite(found)]
        return Spread(
            mean=float(found.mean()) if len(found) else math.nan,
            deviation=float(found.std(ddof=1)) if len(found) > 1 else math.nan,
        )

    @property
    def verdict(self) -> str:
        """Say in a sentence or two whether the model beats each baseline in MAE."""
        return self.judge(self.all_targets[-1])

    def judge(self, target: str) -> str:
        """Say it for one target."""
        model = self.spread(MODEL, target, "mae")
        if math.isnan(model.mean):
            return f"No value of {target} came at any cut-off: there is nothing to judge by."
        found = self.comparisons[target]
        beaten = [_beaten(n, c) for n, c in found.items() if c.model < c.other]
        unbeaten = [_unbeaten(n, c) for n, c in found.items() if not c.model < c.other]
        words = f"beats {join_words(beaten, 'and')}" if beaten else ""
        if unbeaten:
            words += f"{', but ' if beaten else ''}does NOT beat {join_words(unbeaten, 'or')}"
        count = len(self.cutoffs)
        over = f"Over {count} cut-offs" if count > 1 else "From one cut-off"
        mean = "mean MAE" if count > 1 else "MAE"
        sentence = f"{over}, the model's {mean} of {target} ({say_score(model.mean)}) {words}."
        if count == 1:
            return f"{sentence} One cut-off tells little."
        unclear = [name for name, comparison in found.items() if not comparison.is_clear]
        if unclear:
            sentence += (
                f" Beside how far cut-offs differ, the difference to {join_words(unclear, 'and')} "
                "may be chance."
            )
        return sentence

    def scores_table(self) -> pd.DataFrame:
        """Return a row per method, target and cut-off, and one per method, target and step.

        The former have no `step`, the latter no `cutoff`: they are of all cut-offs together.
        """
        rows: list[dict[str, Any]] = [
            {"method": method, "target": target, "cutoff": cutoff.cutoff, "step": None}
            | {"num_values": cutoff.num_values[target], **asdict(cutoff.scores[method][target])}
            for method in (MODEL, *BASELINES)
            for target in self.all_targets
            for cutoff in self.cutoffs
        ]
        rows += [
            {"method": method, "target": target, "cutoff": None, "step": step}
            | {"num_values": self.values_by_step[target][step - 1], **asdict(scores)}
            for method in (MODEL, *BASELINES)
            for target in self.all_targets
            for step, scores in enumerate(self.by_step[method][target], start=1)
        ]
        return pd.DataFrame(rows).astype({"step": "Int64"})

    def to_json(self) -> dict[str, Any]:
        """Return all but the forecasts as plain JSON values; null where one is not defined."""
        shallow = (
            "targets", "split", "is_refit", "step", "frequency", "nominal_coverage", "notes",
            "run_id",
        )  # fmt: skip
        verdicts = {} if len(self.targets) == 1 else {t: self.judge(t) for t in self.targets}
        found: dict[str, Any] = to_plain(
            {
                "verdict": self.verdict,
                "verdicts": verdicts,
                "setting": self.setting,
                **{name: getattr(self, name) for name in shallow},
                "scores": {
                    method: {
                        target: {m: asdict(self.spread(method, target, m)) for m in MEASURES}
                        for target in self.all_targets
                    }
                    for method in (MODEL, *BASELINES)
                },
                "comparisons": {
                    target: {name: c.to_json() for name, c in found.items()}
                    for target, found in self.comparisons.items()
                },
                "cutoffs": [asdict(cutoff) for cutoff in self.cutoffs],
                "values_by_step": self.values_by_step,
                "by_step": {
                    method: {
                        target: [asdict(scores) for scores in found[target]]
                        for target in self.all_targets
                    }
                    for method, found in self.by_step.items()
                },
            }
        )
        return found


def _beaten(name: str, found: Comparison) -> str:
    return f"{name} by {say_gain(found.model, found.other)} ({_count(found)})"


def _unbeaten(name: str, found: Comparison) -> str:
    return f"{name} ({say_loss(found.model, found.other)}, {_count(found)})"


def _count(found: Comparison) -> str:
    equal = f", equal at {found.num_equal}" if found.num_equal else ""
    return f"better at {found.num_better} of {found.num_cutoffs}{equal}"
