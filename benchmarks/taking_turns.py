"""Measuring actions beside a reference, in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch

SHORTEST = 0.05
"""Seconds that one turn takes at least: an action that is quicker is repeated within it."""

Action = Callable[[], object]


class Spread(NamedTuple):
    """Median and quartiles over the turns."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Summarise; at least two values."""
        low, _, high = quantiles(values, n=4)
        return cls(median(values), low, high)

    def __format__(self, spec: str) -> str:
        """Write the median, and the quartiles in brackets."""
        return f"{self.median:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def time_in_turn(actions: Mapping[str, Action], turns: int) -> dict[str, list[float]]:
    """Return the seconds that each action took, one value a turn.

    Each is run once before, which is not counted.
    """
    calls = {name: _calls_per_turn(action) for name, action in actions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(turns):
        for name, action in actions.items():
            began = time.perf_counter()
            for _ in range(calls[name]):
                action()
            seconds[name].append((time.perf_counter() - began) / calls[name])
    return seconds


def take_turns(measures: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Return what each measure told, one value a turn; a first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(turns + 1):
        for name, measure in measures.items():
            value = measure()
            if turn:
                found[name].append(value)
    return found


def ratios(seconds: list[float], reference: list[float]) -> Spread:
    """Return how many times the reference's time was taken, turn by turn."""
    return Spread.of([s / r for s, r in zip(seconds, reference, strict=True)])


def describe_machine() -> dict[str, Any]:
    """Return what decides over times, besides the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def write_json(path: Path | None, found: Mapping[str, Any]) -> None:
    """Keep what was measured, with the machine, if a file was asked for."""
    if path is not None:
        path.write_text(json.dumps({"machine": describe_machine(), **found}, indent=1) + "\n")


def _calls_per_turn(action: Action) -> int:
    action()
    began = time.perf_counter()
    action()
    return max(1, round(SHORTEST / (time.perf_counter() - began)))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())
