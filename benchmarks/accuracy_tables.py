"""The tables of the accuracy benchmark: what was published, the baselines, and ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from accuracy_runs import FIXED_RIDGE, OF_MEAN
from accuracy_sets import MEAN, RIDGE_MARK, AccuracySet, Scores
from real_runs import Record

TOLERANCE = 0.003
"""By how much the shipped ridge may miss the published one."""

NOTE = (
    "MSE/MAE of standardised values over all test windows, steps and columns; ± is the standard "
    "deviation over seeds, and seeds are how many. Everything was chosen on the validation split."
)

Runs = Mapping[str, Mapping[int, Sequence[Record]]]
"""The runs of one set by arm and horizon, one per seed."""


def set_table(chosen: AccuracySet, runs: Runs) -> list[tuple[str, ...]]:
    """Return a row per mark and arm: its scores at each horizon and on average."""
    horizons = chosen.horizons
    has_mean = len(horizons) > 1
    heads = [f"{horizon} steps" for horizon in horizons] + (["mean"] if has_mean else [])
    rows = [("", *heads, "seeds")]
    for name, marks in chosen.marks.items():
        cells = ["/".join(short(v) for v in marks[h]) if h in marks else "" for h in horizons]
        rows.append((name, *cells, *([_mean_cell(chosen, marks)] if has_mean else []), ""))
    for name, by_horizon in runs.items():
        every = [run for found in by_horizon.values() for run in found]
        seeds = max((len(found) for found in by_horizon.values()), default=0)
        for ending in ("", OF_MEAN):
            key = f"test{ending}"
            if not all(key in run for run in every):
                continue
            cells = [_cell([run[key] for run in by_horizon.get(h, ())]) for h in horizons]
            mean = [_cell(_mean_by_seed(horizons, by_horizon, key))] if has_mean else []
            trained = any(run["seed"] for run in every)
            rows.append((f"{name}{ending}", *cells, *mean, str(seeds) if trained else ""))
    return rows


def target_table(runs: Runs) -> list[tuple[str, ...]]:
    """Return the same by target, of sets of one horizon; empty where there is one target."""
    key = "by_target"
    found = {
        name: [run["test"] for run in by_horizon[next(iter(by_horizon))]]
        for name, by_horizon in runs.items()
        if len(by_horizon) == 1
    }
    found = {name: tests for name, tests in found.items() if tests and key in tests[0]}
    if not found:
        return []
    parts = list(next(iter(found.values()))[0][key])
    rows = [("", *parts)]
    for name, tests in found.items():
        rows.append((name, *(_cell([test[key][part] for test in tests]) for part in parts)))
    return rows


def reproduction_line(name: str, chosen: AccuracySet, runs: Runs) -> str | None:
    """Say how far the shipped ridge is from the published figures, with one penalty for all."""
    marks = chosen.marks.get(RIDGE_MARK)
    ours = runs.get(FIXED_RIDGE)
    if marks is None or not ours:
        return None
    gaps = []
    for horizon, mark in marks.items():
        if horizon == MEAN:
            tests = _mean_by_seed(chosen.horizons, ours)
        else:
            tests = [run["test"] for run in ours.get(int(horizon), ())]
        gaps += [test[m] - v for test in tests for m, v in zip(("mse", "mae"), mark, strict=True)]
    if not gaps:
        return None
    worst = max(gaps, key=abs)
    verdict = "within" if abs(worst) < TOLERANCE else "NOT within"
    return (
        f"{name}: the shipped ridge, with a penalty of 10, is {verdict} {TOLERANCE:g} of the one "
        f"published, at most {worst:+.4f} away."
    )


def mean_mark(chosen: AccuracySet, marks: Mapping[int | str, Scores]) -> Scores | None:
    """Return a published figure averaged over horizons; None where one is not published."""
    if MEAN in marks:
        return marks[MEAN]
    if not all(horizon in marks for horizon in chosen.horizons):
        return None
    scores = np.array([marks[horizon] for horizon in chosen.horizons])
    return float(scores[:, 0].mean()), float(scores[:, 1].mean())


def mean_score(
    chosen: AccuracySet, by_horizon: Mapping[int, Sequence[Record]], key: str = "test"
) -> Scores | None:
    """Return ours over horizons and the seeds that ran at all of them; None where none did.

    key: of the scores of a run, by split and point forecast.
    """
    found = _mean_by_seed(chosen.horizons, by_horizon, key)
    if not found or any(scores["mse"] is None for scores in found):
        return None
    return (
        float(np.mean([scores["mse"] for scores in found])),
        float(np.mean([scores["mae"] for scores in found])),
    )


def choose_point(chosen: AccuracySet, by_horizon: Mapping[int, Sequence[Record]]) -> str:
    """Return how the scores of the point forecast end that has the lower MSE on validation.

    That of the median, or `OF_MEAN`.
    """
    runs = [run for found in by_horizon.values() for run in found]
    if not runs or not all(f"validation{OF_MEAN}" in run for run in runs):
        return ""
    median = mean_score(chosen, by_horizon, "validation")
    mean = mean_score(chosen, by_horizon, f"validation{OF_MEAN}")
    return OF_MEAN if median and mean and mean[0] < median[0] else ""


def _mean_by_seed(
    horizons: Sequence[int], by_horizon: Mapping[int, Sequence[Record]], key: str = "test"
) -> list[Record]:
    """Return the mean over horizons of each seed that has run at all of them."""
    by_seed = [{run["seed"]: run[key] for run in by_horizon.get(h, ())} for h in horizons]
    complete = set.intersection(*(set(found) for found in by_seed))
    return [
        {m: float(np.mean([found[seed][m] for found in by_seed])) for m in ("mse", "mae")}
        for seed in sorted(complete)
    ]


def _mean_cell(chosen: AccuracySet, marks: Mapping[int | str, Scores]) -> str:
    found = mean_mark(chosen, marks)
    return "" if found is None else "/".join(short(value) for value in found)


def _cell(tests: Sequence[Record]) -> str:
    if not tests or any(test["mse"] is None for test in tests):
        return ""
    parts = []
    for measure in ("mse", "mae"):
        values = [test[measure] for test in tests]
        spread = f" ±{short(float(np.std(values, ddof=1)))}" if len(values) > 1 else ""
        parts.append(f"{short(float(np.mean(values)))}{spread}")
    return " / ".join(parts) if "±" in parts[0] else "/".join(parts)


def short(value: float) -> str:
    """Write a score as the literature does, .123."""
    return f"{value:.3f}".removeprefix("0")
