"""Ways to calibrate quantiles, each fitted on early windows of validation and seen on later ones.

python benchmarks/calibration.py demo epf_np epa_air --data DIR [--test] [--output FILE]
python benchmarks/calibration.py runs/NAME/best.mmts [--data-root DIR]

Sets are trained first, as `real_sets` says, with the linear path; a checkpoint is taken as it is.
Four times: fitted on the first half of the validation split and seen on the second, on the first
half and seen on the third quarter, on three quarters and seen on the last, on the first quarter and
seen on the second. A window is fitted on only when its horizon is over by then. With --test, which
is for looking and not for choosing, also fitted on all of validation and seen on the test split.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from real_sets import SETS, load_set

from mmts import metrics
from mmts.calibration.conformal import find_median, windows_apart
from mmts.evaluation import WindowForecasts, forecast_windows, load_evaluation_data
from mmts.evaluation.report import to_plain
from mmts.experiment import train
from mmts.files import write_whole
from mmts.forecasting import Forecaster

Array = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Variant:
    """One way to do it.

    relative: whether scores are in units of the quantile's distance from the median, or in those
    of the target. in_pairs: whether q and 1 - q are moved alike, or each by itself. half_life: of a
    window's weight (cf. arXiv 2202.13415), as a share of the time fitted on; None for equal ones.
    """

    name: str
    relative: bool = True
    in_pairs: bool = False
    by_step: bool = False
    only_widen: bool = False
    half_life: float | None = None


PLAIN = "not calibrated"
VARIANTS = (
    Variant("one factor"),
    Variant("factor by step", by_step=True),
    Variant("one factor, only to widen", only_widen=True),
    Variant("factor by step, only to widen", by_step=True, only_widen=True),
    Variant("one factor, in pairs", in_pairs=True),
    Variant("factor by step, in pairs", in_pairs=True, by_step=True),
    Variant("one offset", relative=False),
    Variant("offset by step", relative=False, by_step=True),
    Variant("one offset, in pairs", relative=False, in_pairs=True),
    Variant("offset by step, in pairs", relative=False, in_pairs=True, by_step=True),
    Variant("one factor, half-life 1/2", half_life=0.5),
    Variant("one factor, half-life 1/4", half_life=0.25),
    Variant("one factor, half-life 1/10", half_life=0.1),
)


def main() -> None:
    """Compare all variants on each checkpoint, and print or write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", help=f"checkpoints, or {', '.join(SETS)}")
    parser.add_argument("--data", type=Path, help="folder of the sets that are not shipped")
    parser.add_argument("--data-root", type=Path, help="data of a checkpoint that have moved")
    parser.add_argument("--test", action="store_true", help="look at the test split as well")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    found = {}
    for name in arguments.names:
        if name in SETS:
            with tempfile.TemporaryDirectory() as folder:
                # With the linear path, as a user trains.
                config = load_set(name, arguments.data, Path(folder), ["model.linear={}"])
                checkpoint = train(config, Path(folder) / "run").checkpoint
                found[name] = compare(checkpoint, None, arguments.test)
        else:
            found[name] = compare(Path(name), arguments.data_root, arguments.test)
        report(name, found[name])
    if arguments.output:
        write_whole(arguments.output, json.dumps(to_plain(found), indent=2) + "\n")


def compare(
    checkpoint: Path, root: Path | None, with_test: bool
) -> dict[str, dict[str, dict[str, float]]]:
    """Return CRPS by quantiles and coverage, per pair of parts and variant."""
    forecaster = Forecaster.from_checkpoint(checkpoint, calibrated=False)
    dataset = load_evaluation_data(forecaster.info, root)
    horizon = dataset.schema.horizon * dataset.schema.frequency
    windows = forecast_windows(forecaster, dataset.windows("validation"))
    first, last = int(windows.origins.min()), int(windows.origins.max()) + horizon
    quarters = [first + (last - first) * part // 4 for part in range(5)]

    def part(begin: int, end: int) -> WindowForecasts:
        origins = windows.origins
        return choose(windows, (origins >= quarters[begin]) & (origins + horizon <= quarters[end]))

    parts = {
        "half to half": (part(0, 2), part(2, 4)),
        "half to 3rd quarter": (part(0, 2), part(2, 3)),
        "3 quarters to 4th": (part(0, 3), part(3, 4)),
        "1st quarter to 2nd": (part(0, 1), part(1, 2)),
    }
    if with_test:
        parts["validation to test"] = windows, forecast_windows(forecaster, dataset.windows("test"))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, (earlier, later) in parts.items():
        found[name] = {PLAIN: measure(later, later.quantiles)}
        for variant in VARIANTS:
            moved = move(variant, later, fit(variant, earlier, horizon))
            found[name][variant.name] = measure(later, moved)
    return found


def choose(windows: WindowForecasts, chosen: Chosen) -> WindowForecasts:
    """Return some of the windows."""
    return WindowForecasts(
        *(getattr(windows, name)[chosen] for name in ("items", "origins", "forecast")),
        *(getattr(windows, name)[chosen] for name in ("actual", "observed")),
        windows.outputs,
    )


def fit(variant: Variant, windows: WindowForecasts, horizon: int) -> Array:
    """Return factors or offsets, (step, target, quantile); NaN where there are too few windows."""
    quantiles, levels, observed = windows.quantiles, windows.quantile_levels, windows.observed
    middle = find_median(levels)
    median = quantiles[..., middle]
    age = (windows.origins.max() - windows.origins) / max(1, int(np.ptp(windows.origins)))
    weights = np.ones(len(age)) if variant.half_life is None else 0.5 ** (age / variant.half_life)
    num_apart = len(np.unique(windows_apart(windows.items, windows.origins, horizon)))
    # As many draws as equal weights would need to tell as much.
    num_apart *= float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))
    weights = np.broadcast_to(weights[:, None, None], observed.shape)

    def scores(place: int) -> Array:
        side = 1 if place > middle else -1
        beyond, spread = side * (windows.actual - median), side * (quantiles[..., place] - median)
        if not variant.relative:
            return beyond - spread
        found = np.where(beyond > 0, np.inf, -np.inf)
        return np.divide(beyond, spread, out=found, where=spread > 0)

    steps = observed.shape[1] if variant.by_step else 1
    moves = np.full((steps, observed.shape[2], len(levels)), 1.0 if variant.relative else 0.0)
    for place, level in enumerate(levels):
        if place == middle:
            continue
        found, outer = scores(place), max(level, 1 - level)
        if variant.in_pairs:
            found, outer = np.maximum(found, scores(len(levels) - 1 - place)), 2 * outer - 1
        share = outer * (num_apart + 1) / num_apart
        for step, target in np.ndindex(moves.shape[:2]):
            part = slice(step, step + 1) if variant.by_step else slice(None)
            known = observed[:, part, target]
            order = np.argsort(found[:, part, target][known], kind="stable")
            reached = weights[:, part, target][known][order].cumsum()
            rank = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12)))
            moves[step, target, place] = (
                found[:, part, target][known][order][rank] if share <= 1 else math.nan
            )
    least = (1.0 if variant.relative else 0.0) if variant.only_widen else -np.inf
    return np.maximum(moves, least)


def move(variant: Variant, windows: WindowForecasts, moves: Array) -> Array:
    """Return the quantiles moved, none across the median or another."""
    middle = find_median(windows.quantile_levels)
    median = windows.quantiles[..., middle : middle + 1]
    distance = np.abs(windows.quantiles - median)
    distance = np.maximum(distance * moves if variant.relative else distance + moves, 0)
    below = np.maximum.accumulate(distance[..., :middle][..., ::-1], axis=-1)[..., ::-1]
    above = np.maximum.accumulate(distance[..., middle + 1 :], axis=-1)
    return np.concatenate([median - below, median, median + above], axis=-1)


def measure(windows: WindowForecasts, quantiles: Array) -> dict[str, float]:
    """Return the CRPS by quantiles, and what lies in the outermost interval."""
    levels, actual, observed = windows.quantile_levels, windows.actual, windows.observed
    pair = metrics.outermost_interval(levels)
    assert pair is not None
    low, high = (quantiles[..., place] for place in pair)
    by_step = [
        metrics.interval_coverage(low[:, s], high[:, s], actual[:, s], observed[:, s])
        for s in range(actual.shape[1])
    ]
    nominal = levels[pair[1]] - levels[pair[0]]
    return {
        "crps_by_quantiles": metrics.crps_by_quantiles(quantiles, actual, observed, levels),
        "coverage": metrics.interval_coverage(low, high, actual, observed),
        "coverage_missed_by_step": float(np.nanmean(np.abs(np.array(by_step) - nominal))),
    }


def report(name: str, found: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print change of CRPS in percent, coverage, and mean miss of the coverage by step."""
    print(f"\n{name}: change of CRPS, coverage of the outermost interval, its mean miss by step")
    print(f"{'':30}" + "".join(f"{part:>26}" for part in found))
    for variant in (PLAIN, *(one.name for one in VARIANTS)):
        cells = []
        for by_variant in found.values():
            one, plain = by_variant[variant], by_variant[PLAIN]
            change = 100 * (one["crps_by_quantiles"] / plain["crps_by_quantiles"] - 1)
            missed = one["coverage_missed_by_step"]
            said = f"{change:+.2f}% {one['coverage']:.3f} {missed:.3f}"
            cells.append("-" if math.isnan(change) else said)
        print(f"{variant:30}" + "".join(f"{cell:>26}" for cell in cells))


if __name__ == "__main__":
    main()
