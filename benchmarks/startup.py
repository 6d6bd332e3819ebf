"""What it costs to start: help, and forecasts from a checkpoint, each in a process of its own.

python benchmarks/startup.py --json startup.json

Seconds of processor time, user and system, of child processes that take turns; ratios are taken
within each turn. A tiny model is trained once by the real command, on the small file.

argparse        python -c "import argparse", beside which stands `mmts --help`
read small      python imports torch and pandas, and reads the small file with pandas.read_csv
forecast small  `mmts forecast` of that file
read large      the same with the large file, of --items items and --rows rows each
forecast large  `mmts forecast` of that file, which parses it and puts it into a cache
again           the same once more, from the cache
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from taking_turns import Spread, ratios, take_turns, write_json

CONFIG = """
name: startup
data:
  horizon: 24
  streams:
    load: {path: small.csv, time: time, item: item, target: [y], past: [x0, x1], context_length: 48}
model:
  encoders: {load: {kind: linear, dim: 16}}
  head: {kind: quantile, dim: 16}
training: {max_epochs: 1, batch_size: 256, steps_per_epoch: 2}
tracking: {enabled: false}
"""

READ = "import sys, torch, pandas; pandas.read_csv(sys.argv[1])"

HELP_FACTOR, HELP_SECONDS = 1.5, 0.1
"""Help may take so many times what argparse does, and so many seconds besides."""

FORECAST_FACTOR = 1.2
"""A forecast may take so many times what importing torch and pandas and reading the file do."""


class Aim(NamedTuple):
    """A command, and what it is held against."""

    command: str
    reference: str


AIMS = (
    Aim("forecast small", "read small"),
    Aim("forecast large", "read large"),
    Aim("again", "read large"),
)


def main() -> None:
    """Measure all, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=2000, help="of each item of the large file")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_csv(folder / "small.csv", num_items=10, num_rows=500)
        write_csv(folder / "large.csv", arguments.items, arguments.rows)
        (folder / "startup.yaml").write_text(CONFIG)
        run(folder, *mmts("train", "startup.yaml", "--run-dir", "run"))
        seconds = take_turns(measures(folder), arguments.turns)
    spreads = {name: Spread.of(own) for name, own in seconds.items()}
    for name, spread in spreads.items():
        print(f"{name:15} {spread:.3f} s")
    besides = Spread.of(
        [
            own - HELP_FACTOR * reference
            for own, reference in zip(seconds["help"], seconds["argparse"], strict=True)
        ]
    )
    print(f"help takes {besides:.3f} s more than {HELP_FACTOR} argparse; aim {HELP_SECONDS}")
    over = {aim.command: ratios(seconds[aim.command], seconds[aim.reference]) for aim in AIMS}
    for aim in AIMS:
        print(f"{aim.command}: {over[aim.command]:.2f} of {aim.reference}; aim {FORECAST_FACTOR}")
    write_json(
        arguments.json,
        {
            "items": arguments.items,
            "rows": arguments.rows,
            "seconds": spreads,
            "help_besides_argparse": besides,
            "ratio": over,
        },
    )


def write_csv(path: Path, num_items: int, num_rows: int) -> None:
    """Write items one after another, hour by hour."""
    random = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=num_rows, freq="h")
    stamps = hours.strftime("%Y-%m-%d %H:%M:%S").to_numpy()
    columns = {
        "time": np.tile(stamps, num_items),
        "item": np.repeat([f"i{item:05}" for item in range(num_items)], num_rows),
    }
    numbers = random.standard_normal((num_items * num_rows, 3)).round(4)
    columns |= {name: numbers[:, place] for place, name in enumerate(("y", "x0", "x1"))}
    pd.DataFrame(columns).to_csv(path, index=False)


def measures(folder: Path) -> Mapping[str, Callable[[], float]]:
    """Return what runs each command once and tells its seconds."""

    def forecast(*options: str) -> float:
        return run(folder, *mmts("forecast", "run/best.mmts", "--output", "f.csv", *options))

    def forecast_first() -> float:
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        return forecast("--data", "load=large.csv")

    return {
        "argparse": lambda: run(folder, "-c", "import argparse"),
        "help": lambda: run(folder, *mmts("--help")),
        "read small": lambda: run(folder, "-c", READ, "small.csv"),
        "forecast small": forecast,
        "read large": lambda: run(folder, "-c", READ, "large.csv"),
        "forecast large": forecast_first,
        "again": lambda: forecast("--data", "load=large.csv"),
    }


def mmts(*arguments: str) -> tuple[str, ...]:
    """Return arguments of Python that run the real command."""
    return ("-m", "mmts.pipelines.main", *arguments)


def run(folder: Path, *arguments: str) -> float:
    """Run Python in the folder, which is its home too; returns its seconds of processor time."""
    # The cache lies in the home. Bytecode is kept, as it is unless someone forbids it.
    environment = {**os.environ, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime


if __name__ == "__main__":
    main()
