"""The tables of the synthetic task, for a terminal or for a document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import torch
from regimes import RegimeTask
from torch import Tensor

INTERVAL = 3
"""Standard errors to either side of a cost, as in `mmts explain`."""

Found = dict[str, Any]


def describe(task: RegimeTask, num_windows: int) -> list[str]:
    """Tell what can be known of the task, as derived and as measured on drawn windows."""
    sample = task.sample(num_windows, torch.Generator().manual_seed(0))

    def measured(errors: Tensor) -> str:
        squares = errors.double() ** 2
        return f"{squares.mean():.4f} ± {squares.std() / math.sqrt(len(squares)):.4f}"

    without = sample.target - task.forecast_without_codes(sample.tokens)
    return [
        f"{task.num_regimes} regime{'s' if task.num_regimes > 1 else ''}",
        f"variance of the target   {task.variance:.4f}, measured {measured(sample.target)}",
        f"best without A           {task.best_without_codes:.4f}, measured {measured(without)}",
        f"floor                    {task.floor:.4f}, measured {measured(sample.unexplained)}",
    ]


def choose_rates(found: Sequence[Found]) -> dict[str, list[Found]]:
    """Return the runs of each variant at its best learning rate, by the mean on validation."""
    groups: dict[str, dict[float, list[Found]]] = {}
    for run in found:
        groups.setdefault(run["variant"], {}).setdefault(run["learning_rate"], []).append(run)
    return {
        variant: min(by_rate.values(), key=lambda runs: mean(run["validation"] for run in runs))
        for variant, by_rate in groups.items()
    }


def list_errors(found: Sequence[Found]) -> list[list[str]]:
    """Return the table of errors: mean and spread over seeds."""
    rows = [["variant", "MSE", "A missing", "weights", "seconds of CPU", "learning rate"]]
    for variant, runs in choose_rates(found).items():
        absent = [run["test_without_A"] for run in runs]
        rows.append(
            [
                variant,
                _spread([run["test"] for run in runs]),
                "" if None in absent else f"{mean(absent):.3f}",
                f"{runs[0]['parameters']:,}",
                f"{mean(run['seconds'] for run in runs):.0f}",
                f"{runs[0]['learning_rate']:g}",
            ]
        )
    return rows


def list_edges(found: Sequence[Found]) -> list[list[str]]:
    """Return the table of edges: strength, and cost of switching off with its interval."""
    rows = [["variant", "edge", "strength", "of the strongest", "cost of switching off", ""]]
    for variant, runs in choose_rates(found).items():
        strengths = {
            name: mean(run["edges"][name]["strength"] for run in runs) for name in runs[0]["edges"]
        }
        for name, strength in strengths.items():
            costs = [run["edges"][name]["cost"] for run in runs]
            errors = [run["edges"][name]["standard_error"] for run in runs]
            cost, reach = mean(costs), INTERVAL * math.hypot(*errors) / len(errors)
            verdict = "not told from 0" if abs(cost) <= reach else "costs" if cost > 0 else "gains"
            rows.append(
                [
                    variant,
                    name,
                    f"{strength:.3f}",
                    f"{strength / max(strengths.values()):.1%}" if strength else "0%",
                    f"{cost:.4f} ± {reach:.4f}",
                    verdict,
                ]
            )
    return rows


def list_sweep(found: Sequence[Found], tasks: Sequence[RegimeTask]) -> list[list[str]]:
    """Return the table over numbers of regimes, each variant at its best learning rate there."""
    counts = [task.num_regimes for task in tasks]
    chosen = [choose_rates([run for run in found if run["regimes"] == n]) for n in counts]
    rows = [["regimes", *(str(n) for n in counts)]]
    rows.append(["floor", *(f"{task.floor:.4f}" for task in tasks)])
    rows.append(["best without A", *(f"{task.best_without_codes:.4f}" for task in tasks)])
    rows += [
        [variant, *(_spread([run["test"] for run in by_variant[variant]]) for by_variant in chosen)]
        for variant in chosen[0]
    ]
    return rows


def write(rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Write a table, its first column to the left and the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip())
    if markdown:
        marks = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines.insert(1, f"| {' | '.join(marks)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{mean(values):.4f}{spread}"
