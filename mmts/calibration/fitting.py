"""Calibrating a trained model on the validation split of its own data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmts import metrics
from mmts.calibration.config import CalibrationConfig
from mmts.calibration.conformal import (
    Calibration,
    fit_factors,
    move_quantiles,
    resolve_by_step,
    windows_apart,
    windows_needed,
)
from mmts.data.dataset import Dataset
from mmts.data.schema import DataSchema
from mmts.errors import CheckpointError, DataError
from mmts.evaluation.report import Array, WindowForecasts
from mmts.evaluation.rolling import forecast_windows, gather_splits
from mmts.forecasting import Forecaster
from mmts.heads.kinds import HeadConfig, levels_to_calibrate
from mmts.linear.targets import collect_targets
from mmts.score_text import say_score

_Blocks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shares:
    """How the quantiles of some windows hold what they say.

    below: share of observed values below each quantile, by level. coverage: share in the outermost
    interval; NaN without a pair of levels. crps: by quantiles, in the target's own units.
    """

    below: tuple[float, ...]
    coverage: float
    crps: float


@dataclass(frozen=True)
class LaterHalf:
    """What a calibration on the earlier half of the validation split does to the later one."""

    before: Shares
    after: Shares


@dataclass(frozen=True)
class CalibrationReport:
    """A calibration, and what it does.

    targets: names. quantile_levels: of the model. nominal_coverage: of the outermost interval;
    None without one. before, after: on the windows that it was fitted on, all targets pooled, so
    that `after` flatters it. later_half: None where half of the split is too short to fit on.
    """

    calibration: Calibration
    targets: tuple[str, ...]
    quantile_levels: tuple[float, ...]
    nominal_coverage: float | None
    before: Shares
    after: Shares
    later_half: LaterHalf | None

    @property
    def outlook(self) -> str:
        """Say what a calibration on the earlier half of the split did on the later one."""
        if self.later_half is None:
            return (
                "half of the validation split is too short to see what a calibration does on "
                "later windows"
            )
        before, after = self.later_half.before, self.later_half.after
        said = "fitted on the earlier half of validation, on the later half "
        if self.nominal_coverage is not None:
            said += (
                f"the {self.nominal_coverage:.0%} interval holds {before.coverage:.1%} before and "
                f"{after.coverage:.1%} after; "
            )
        said += (
            f"CRPS ({len(self.quantile_levels)} levels) {say_score(before.crps)} "
            f"becomes {say_score(after.crps)}"
        )
        if before.crps > 0:
            said += f" ({100 * (after.crps / before.crps - 1):+.2f}%)"
        if after.crps >= before.crps:
            said += "; there is no sign that it helps"
        return said


def calibrate(
    forecaster: Forecaster, dataset: Dataset, config: CalibrationConfig
) -> tuple[Forecaster, CalibrationReport]:
    """Calibrate a model on the validation split; one that it has already is replaced.

    The epoch was chosen on the same split, and what the linear path reads: the model's errors
    there are therefore somewhat too small. Raises DataError when the split is too short, and
    CheckpointError when the model gives no quantiles.
    """
    if not levels_to_calibrate(forecaster.info.config.model.head):
        raise CheckpointError(
            "the model gives no quantile but the median, so that nothing can be calibrated. "
            "Train one with model.head.kind: quantile and more levels."
        )
    plain = forecaster.without_calibration()
    windows = forecast_windows(plain, gather_splits(dataset, {"validation"})["validation"])
    blocks = _blocks(windows.items, windows.origins, dataset.schema)
    calibration = _fit(windows, blocks, config)
    info = plain.info.model_copy(update={"calibration": calibration})
    interval = metrics.outermost_interval(windows.quantile_levels)
    levels = windows.quantile_levels
    report = CalibrationReport(
        calibration=calibration,
        targets=dataset.schema.target_columns,
        quantile_levels=levels,
        nominal_coverage=levels[interval[1]] - levels[interval[0]] if interval else None,
        before=_measure(windows, windows.quantiles),
        after=_measure(windows, calibration.apply(windows.quantiles, levels)),
        later_half=_try_on_later_half(windows, blocks, dataset.schema, config),
    )
    return Forecaster(info, plain.model), report


def require_enough_windows(dataset: Dataset, head: HeadConfig, config: CalibrationConfig) -> None:
    """Make sure, before a training, that the validation split is long enough to calibrate on.

    Raises DataError when it is not.
    """
    levels = levels_to_calibrate(head)
    gatherer = dataset.windows("validation")
    observed: npt.NDArray[np.bool_] = collect_targets(gatherer)[1].numpy()
    rows = gatherer.windows
    blocks = _blocks(rows.items.numpy(), rows.origins.numpy(), dataset.schema)
    needed = max(windows_needed(level) for level in levels)
    # By step a value must have been observed at each of them.
    known = observed if config.by_step is True else np.any(observed, axis=1, keepdims=True)
    num_apart = min(
        len(np.unique(blocks[known[:, step, target]]))
        for step in range(known.shape[1])
        for target in range(known.shape[2])
    )
    if num_apart < needed:
        raise DataError(
            f"calibration: the quantile levels {_listing(levels)} take at least "
            f"{needed} windows of the validation split with an observed value that do not overlap, "
            f"and there are {num_apart}. Make the validation split longer, set calibration: null, "
            "or take levels nearer to 0.5."
        )


def _fit(windows: WindowForecasts, blocks: _Blocks, config: CalibrationConfig) -> Calibration:
    levels = windows.quantile_levels
    num_apart = len(np.unique(blocks))
    config = resolve_by_step(config, num_apart, levels)
    factors = fit_factors(
        windows.quantiles, windows.actual, windows.observed, blocks, levels, config
    )
    return Calibration(config=config, num_windows=len(blocks), num_apart=num_apart).with_factors(
        factors
    )


def _try_on_later_half(
    windows: WindowForecasts, blocks: _Blocks, schema: DataSchema, config: CalibrationConfig
) -> LaterHalf | None:
    """Fit on what was over when the later half began, and look at that half."""
    places = schema.clock.places(windows.origins)
    last = int(places.max()) + schema.horizon
    is_early = 2 * (places + schema.horizon) <= last
    earlier, later = windows.take(is_early), windows.take(2 * places >= last)
    if not (earlier.observed.any() and later.observed.any()):
        return None
    try:
        half = _fit(earlier, blocks[is_early], config)
    except DataError:
        return None
    calibrated = move_quantiles(later.quantiles, later.quantile_levels, half.factors)
    return LaterHalf(_measure(later, later.quantiles), _measure(later, calibrated))


def _measure(windows: WindowForecasts, quantiles: Array) -> Shares:
    levels, actual, observed = windows.quantile_levels, windows.actual, windows.observed
    interval = metrics.outermost_interval(levels)
    nothing = np.full_like(actual, -np.inf)
    return Shares(
        below=tuple(
            metrics.interval_coverage(nothing, quantiles[..., place], actual, observed)
            for place in range(len(levels))
        ),
        coverage=float("nan")
        if interval is None
        else metrics.interval_coverage(
            quantiles[..., interval[0]], quantiles[..., interval[1]], actual, observed
        ),
        crps=metrics.crps_by_quantiles(quantiles, actual, observed, levels),
    )


def _blocks(items: npt.NDArray[np.integer], origins: _Blocks, schema: DataSchema) -> _Blocks:
    """Return a number per window, as `windows_apart` gives them, counted on the target's clock."""
    return windows_apart(items, schema.clock.places(origins), schema.horizon)


def _listing(levels: tuple[float, ...]) -> str:
    return ", ".join(f"{level:g}" for level in levels)
