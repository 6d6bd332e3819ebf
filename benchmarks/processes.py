"""Whether several processes train as one does, and in what time.

python benchmarks/processes.py --json processes.json

Trains the demo by the real command in one process and in several on the CPU, on one thread each,
with the same windows in each step and without dropout, which every process draws for itself.
Printed are the largest difference between the weights and between the losses of an epoch, beside
the tolerance that the tests hold, and the windows a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from taking_turns import write_json

from mmts.checkpoint import load_checkpoint
from mmts.config import load_config

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4
"""Of weights, relative: what the tests ask for."""


def main() -> None:
    """Train, compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs/nyc_departures.yaml")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30, help="of each of two epochs")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, arguments.processes):
            runs[count] = run(arguments, count, Path(folder) / str(count))
    one, several = runs.values()
    weights = max(
        float(((several["weights"][name] - weight).abs() / weight.abs().clamp(min=0.1)).max())
        for name, weight in one["weights"].items()
        if weight.is_floating_point() and weight.numel()
    )
    losses = max(
        abs(mine[name] / theirs[name] - 1)
        for mine, theirs in zip(several["epochs"], one["epochs"], strict=True)
        for name in ("train/loss", "val/loss")
    )
    rates = {
        count: [epoch["train/windows_per_second"] for epoch in found["epochs"]]
        for count, found in runs.items()
    }
    print(
        f"{arguments.processes} processes beside one: weights differ by {weights:.1e} at most, "
        f"losses by {losses:.1e}; the tests hold {TOLERANCE:.0e}"
    )
    for count, rate in rates.items():
        print(f"  {count} process{'es' if count > 1 else ''}: {rate[-1]:,.0f} windows/s")
    write_json(
        arguments.json,
        {
            "processes": arguments.processes,
            "weights": weights,
            "losses": losses,
            "tolerance": TOLERANCE,
            "windows_per_second": {str(count): rate[-1] for count, rate in rates.items()},
        },
    )


def run(arguments: argparse.Namespace, count: int, folder: Path) -> dict[str, Any]:
    """Train; returns epochs of the history, and weights by name."""
    settings = [
        f"training.devices={count}",
        "training.accelerator=cpu",
        "training.max_epochs=2",
        f"training.steps_per_epoch={arguments.steps}",
        "model.linear=null",
        "model.stream_dropout=0",
        "model.head.dropout=0",
        "tracking.enabled=false",
        *(
            f"model.encoders.{name}.dropout=0"
            for name in load_config(arguments.config).model.encoders
        ),
    ]
    command = [sys.executable, "-m", "mmts.pipelines.main", "train", str(arguments.config)]
    command += ["--run-dir", str(folder / "run"), *(w for s in settings for w in ("--set", s))]
    # The first process divides what it has by the number of processes.
    environment = {**os.environ, "OMP_NUM_THREADS": str(count)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    lines = (folder / "run/history.jsonl").read_text().splitlines()
    _, model = load_checkpoint(folder / "run/last.mmts")
    weights: dict[str, torch.Tensor] = model.state_dict()
    return {"epochs": [e for e in map(json.loads, lines) if e["epoch"]], "weights": weights}


if __name__ == "__main__":
    main()
