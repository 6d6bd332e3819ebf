"""Whether anything grows while one process trains and forecasts for hours.

python benchmarks/soak.py --minutes 60 --json soak.json

A cycle is a training with tracking, a forecast, and an evaluation, of small data. After each, the
memory that the process holds, its open files and its threads are counted. What is printed is the
first and the last quarter of the cycles, and the slope with its 95 % interval; a first fifth, in
which caches fill, is left out.
"""

from __future__ import annotations

import argparse
import gc
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from scipy import stats
from taking_turns import write_json
from training_overhead import write_experiment

from mmts.config import ExperimentConfig
from mmts.data.dataset import load_dataset
from mmts.evaluation import evaluate
from mmts.experiment import train
from mmts.forecasting import Forecaster

NUM_ROWS, STEPS = 20_000, 8
WARM_UP = 0.2


def main() -> None:
    """Go round until the time is over, and print what grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="file for what was counted")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        config = write_experiment(Path(folder), "linear", 32, STEPS, NUM_ROWS)
        rows = list(go_round(config, Path(folder), arguments.minutes))
    counts = {name: [row[name] for row in rows] for name in rows[0]}
    kept = slice(int(WARM_UP * len(rows)), None)
    print(f"{len(rows)} cycles in {rows[-1]['seconds'] / 60:.1f} minutes")
    for name in ("memory_mb", "open_files", "threads"):
        print(f"{name:10}  {describe(counts[name][kept])}")
    write_json(arguments.json, {"minutes": arguments.minutes, "cycles": counts})


def go_round(config: ExperimentConfig, folder: Path, minutes: float) -> Iterator[dict[str, float]]:
    """Yield what the process holds after each cycle."""
    process, began, number = psutil.Process(), time.monotonic(), 0
    dataset = load_dataset(config.data)
    source = folder / "load.csv"
    while time.monotonic() - began < 60 * minutes:
        number += 1
        result = train(config, folder / "runs" / f"{number:06}")
        forecaster = Forecaster.from_checkpoint(result.checkpoint)
        forecaster.predict({"load": source})
        evaluate(forecaster, dataset)
        gc.collect()
        yield {
            "seconds": time.monotonic() - began,
            "memory_mb": process.memory_info().rss / 2**20,
            "open_files": float(process.num_fds()),
            "threads": float(process.num_threads()),
        }


def describe(values: list[float]) -> str:
    """Say where a count began and ended, and by how much it grew in a hundred cycles."""
    quarter = max(1, len(values) // 4)
    first, last = np.mean(values[:quarter]), np.mean(values[-quarter:])
    said = f"{first:.1f} to {last:.1f}"
    if len(set(values)) == 1:
        return f"{said}; never another"
    if len(values) < 4:
        return f"{said}; too few cycles for a slope"
    found = stats.linregress(np.arange(len(values)), values)
    reach = float(stats.t.ppf(0.975, len(values) - 2)) * found.stderr
    return f"{said}; {100 * found.slope:+.2f} ± {100 * reach:.2f} in a hundred cycles"


if __name__ == "__main__":
    main()
