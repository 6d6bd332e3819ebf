"""What an evaluation finds, and how it says so."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmts.evaluation.ablation import Ablation
from mmts.score_text import say_score

MODEL, LAST_VALUE, SEASONAL_NAIVE, RIDGE = "model", "last value", "seasonal naive", "ridge"
BASELINES = (LAST_VALUE, SEASONAL_NAIVE, RIDGE)
ALL_TARGETS = "all targets"

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The measures of one forecast, in the target's own units; NaN where one is not defined.

    coverage: share of values between the outermost pair of quantile levels; NaN for a method that
        gives no quantiles.
    crps_by_quantiles: the CRPS as far as the model's levels tell it; see `metrics`.
    """

    mae: float
    rmse: float
    mase: float
    wql: float
    coverage: float
    crps_by_quantiles: float


@dataclass(frozen=True)
class TargetScores:
    """Scores over all steps of the horizon, and by step."""

    overall: Scores
    by_step: tuple[Scores, ...]


@dataclass(frozen=True)
class WindowForecasts:
    """The model's forecasts of all windows of a split, and what came, in the target's own units.

    items: (window,) places in the list of items. origins: (window,) int64 microseconds.
    forecast: (window, horizon, target, output). actual, observed: (window, horizon, target).
    outputs: `mean`, or quantile levels.
    """

    items: npt.NDArray[np.int64]
    origins: npt.NDArray[np.int64]
    forecast: Array
    actual: Array
    observed: npt.NDArray[np.bool_]
    outputs: tuple[str, ...]

    @property
    def quantile_levels(self) -> tuple[float, ...]:
        """Levels among the outputs, in order."""
        return tuple(float(output) for output in self.outputs if output != "mean")

    @property
    def quantiles(self) -> Array:
        """The quantiles, (window, horizon, target, quantile)."""
        places = [place for place, output in enumerate(self.outputs) if output != "mean"]
        return self.forecast[..., places]

    def take(self, chosen: npt.NDArray[Any]) -> WindowForecasts:
        """Return some of the windows: their places, or a flag for each."""
        return replace(
            self,
            items=self.items[chosen],
            origins=self.origins[chosen],
            forecast=self.forecast[chosen],
            actual=self.actual[chosen],
            observed=self.observed[chosen],
        )

    def of_target(self, place: int) -> WindowForecasts:
        """Return one of the targets alone."""
        one = slice(place, place + 1)
        return replace(
            self,
            forecast=self.forecast[:, :, one],
            actual=self.actual[:, :, one],
            observed=self.observed[:, :, one],
        )

    def point(self, *preferred: str) -> Array:
        """Return the first output that there is of these, (window, horizon, target)."""
        name = next(output for output in preferred if output in self.outputs)
        return self.forecast[..., self.outputs.index(name)]


@dataclass(frozen=True)
class Evaluation:
    """A model beside its baselines on one split.

    scores: per method, per target and for `ALL_TARGETS`, which pools the values of all.
    dates: first moment and end of each split. num_windows, num_values: windows, and target values
    observed in them. season: in steps, of the seasonal naive forecast and of MASE. ridge: what was
    chosen for it on validation. nominal_coverage: of `coverage`; None without quantiles.
    calibration: whether the quantiles were calibrated, and on what, in words; None without any.
    notes: what was left out of the scores, and what else to know about them.
    ablation: streams that were missing, or shuffled, in all of this.
    """

    targets: tuple[str, ...]
    scores: dict[str, dict[str, TargetScores]]
    split: str
    dates: dict[str, tuple[str, str]]
    num_windows: int
    num_values: int
    step: str
    season: int
    ridge: dict[str, Any]
    quantile_levels: tuple[float, ...]
    nominal_coverage: float | None
    calibration: str | None
    notes: tuple[str, ...]
    epoch: int
    run_id: str | None
    windows: WindowForecasts
    ablation: Ablation

    @property
    def verdict(self) -> str:
        """Say in a sentence whether the model beats each baseline in MAE."""
        target = self.targets[0] if len(self.targets) == 1 else ALL_TARGETS
        return self.judge(target)

    def judge(self, target: str) -> str:
        """Say it for one target."""
        errors = {method: found[target].overall.mae for method, found in self.scores.items()}
        model = errors.pop(MODEL)
        first, end = self.dates[self.split]
        if math.isnan(model):
            return f"No value of {target} lies in the {self.split} split, {first} to {end}."
        beaten = [f"{name} by {say_gain(model, e)}" for name, e in errors.items() if model < e]
        unbeaten = [f"{n} ({say_loss(model, e)})" for n, e in errors.items() if not model < e]
        found = f"beats {join_words(beaten, 'and')}" if beaten else ""
        if unbeaten:
            found += f"{', but ' if beaten else ''}does NOT beat {join_words(unbeaten, 'or')}"
        ablated = f", {self.ablation.words}" if self.ablation.words else ""
        return (
            f"On the {self.split} split, {first} to {end}{ablated}, the model's MAE of {target} "
            f"({say_score(model)}) {found}."
        )

    def table(self, target: str | None = None) -> pd.DataFrame:
        """Return a row per method with its scores over all steps; of all targets by default."""
        return pd.DataFrame(
            {
                method: asdict(found[target or ALL_TARGETS].overall)
                for method, found in self.scores.items()
            }
        ).T.rename_axis("method")

    def by_step_table(self) -> pd.DataFrame:
        """Return a row per method, target and step; steps count from 1."""
        return pd.DataFrame(
            [
                {"method": method, "target": target, "step": step, **asdict(scores)}
                for method, found in self.scores.items()
                for target in self.targets
                for step, scores in enumerate(found[target].by_step, start=1)
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return all but the windows as plain JSON values; null where a score is not defined."""
        shallow = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("windows", "ablation")
        } | asdict(self.ablation)
        scores = {
            method: {target: asdict(found) for target, found in by_target.items()}
            for method, by_target in self.scores.items()
        }
        verdicts = {} if len(self.targets) == 1 else {t: self.judge(t) for t in self.targets}
        found: dict[str, Any] = to_plain(
            {"verdict": self.verdict, "verdicts": verdicts, **shallow, "scores": scores}
        )
        return found


def say_gain(model: float, baseline: float) -> str:
    """Say how much smaller the model's error is."""
    percent = 100 * (baseline - model) / baseline
    return f"{percent:.1f}%" if percent >= 0.05 else "less than 0.1%"


def say_loss(model: float, baseline: float) -> str:
    """Say how much larger the model's error is, where it is not smaller."""
    if model == baseline:
        return "equal"
    if baseline == 0:
        return "whose error is zero"
    percent = 100 * (model - baseline) / baseline
    return f"{percent:.1f}% worse" if percent >= 0.05 else "less than 0.1% worse"


def join_words(words: list[str], joint: str) -> str:
    """Write a list as people do: `a, b and c`."""
    return f" {joint} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def to_plain(value: Any) -> Any:
    """Return a value as JSON holds it; JSON has no NaN."""
    if isinstance(value, dict):
        return {key: to_plain(found) for key, found in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(found) for found in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
