"""The tables that the comparison ends with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from paired_intervals import Array, Difference, compare
from real_runs import Record
from real_variants import PRESETS

BASE = "none"
HEADER = (
    "variant", "weights", "s of CPU", "validation loss", "validation MAE",
    "test MAE", "against none", "test MSE", "against none",
)  # fmt: skip
NOTE = (
    "Errors are in standard deviations of the train split's target; ± is the spread over seeds. "
    "In brackets is the 95 % interval of the change in percent, from paired draws of blocks of "
    "origins and of seeds; * where it leaves zero out. The validation loss is the head's own."
)

Runs = Mapping[str, Sequence[Record]]
"""The runs of one set by variant, a run per seed."""


def set_table(runs: Runs) -> list[tuple[str, ...]]:
    """Return a row per variant, baselines without what only a training has."""
    return [HEADER, *(_row(name, found, runs.get(BASE, ())) for name, found in runs.items())]


def _row(name: str, found: Sequence[Record], base: Sequence[Record]) -> tuple[str, ...]:
    trained = found[0]["validation_loss"] is not None
    return (
        name,
        f"{found[0]['num_weights']:,}" if trained else "",
        f"{np.mean([run['cpu_seconds'] for run in found]):.0f}",
        _spread([run["validation_loss"] for run in found]) if trained else "",
        _spread([run["validation"]["mae"] for run in found]),
        _spread([run["test"]["mae"] for run in found]),
        _change(found, base, "absolute") if name != BASE else "",
        _spread([run["test"]["mse"] for run in found]),
        _change(found, base, "squared") if name != BASE else "",
    )


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"


def _change(found: Sequence[Record], base: Sequence[Record], measure: str) -> str:
    if not base:
        return ""
    change = difference(found, base, measure)
    star = "*" if change.is_clear else ""
    return f"{change.percent:+.1f} % [{change.low:+.1f}, {change.high:+.1f}]{star}"


def difference(found: Sequence[Record], base: Sequence[Record], measure: str) -> Difference:
    """Compare the test errors of two variants; measure: `absolute` or `squared`."""
    assert found[0]["test"]["num_values"] == base[0]["test"]["num_values"]
    seeds = {run["seed"] for run in found} & {run["seed"] for run in base}
    if all(run["validation_loss"] is not None for run in found):
        found, base = (
            sorted((run for run in runs if run["seed"] in seeds), key=lambda run: run["seed"])
            for runs in (found, base)
        )
    return compare(_sums(found, measure), _sums(base, measure))


def _sums(runs: Sequence[Record], measure: str) -> Array:
    return np.array([run["test"][measure] for run in runs])


def choice_lines(by_set: Mapping[str, Runs]) -> Iterator[str]:
    """Say which preset validation chooses on each set, and which on all of them together."""
    ratios: dict[str, list[float]] = {}
    for set_name, runs in by_set.items():
        losses = {
            name: float(np.mean([run["validation_loss"] for run in runs[name]]))
            for name in PRESETS
            if name in runs
        }
        if BASE not in losses:
            continue
        best = min(losses, key=lambda name: losses[name])
        yield f"{set_name}: on validation, {best} is best of the presets ({losses[best]:.4f})."
        for name, loss in losses.items():
            ratios.setdefault(name, []).append(loss / losses[BASE])
    complete = {
        name: float(np.exp(np.mean(np.log(found))))
        for name, found in ratios.items()
        if len(found) == len(ratios[BASE])
    }
    if complete:
        ranked = sorted(complete, key=lambda name: complete[name])
        yield "Validation loss against none, geometric mean over sets: " + ", ".join(
            f"{name} {100 * (complete[name] - 1):+.2f} %" for name in ranked
        )


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Align columns for a terminal."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])
