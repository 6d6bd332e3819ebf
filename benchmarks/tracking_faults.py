"""What a training costs while MLflow is frozen, beside the same training without tracking.

python benchmarks/tracking_faults.py --json tracking_faults.json

Seconds per optimiser step, from the beginning of an epoch to its last step, of `mmts train`:

off       tracking.enabled: false
frozen    a server that takes every connection and never answers, a metric at every step
working   a SQLite store that takes everything, a metric at every step

They take turns, and ratios are taken within each turn. What a training waits for MLflow before its
first step and after its last one is told apart, in seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from taking_turns import Spread, ratios, write_json
from training_overhead import write_experiment

from mmts.config import ExperimentConfig
from mmts.experiment import train


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["linear", "transformer"], default="transformer")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as frozen:
        # As a stopped process does, the system takes what comes, and nobody reads it.
        uri = f"http://127.0.0.1:{frozen.getsockname()[1]}"
        config = write_experiment(Path(folder), arguments.model, arguments.batch, arguments.steps)
        cases = {
            "off": tracked(config, enabled=False),
            "frozen": tracked(config, uri=uri),
            "working": tracked(config),
        }
        steps, whole = measure(cases, Path(folder), arguments.turns)
    over = {name: ratios(own, steps["off"]) for name, own in steps.items()}
    for name, own in steps.items():
        spread = Spread.of([1e3 * seconds for seconds in own])
        print(f"{name:8} {spread:.3f} ms a step   {over[name]:.4f} of that without tracking")
    waits = {
        name: Spread.of([w - o for w, o in zip(own, whole["off"], strict=True)])
        for name, own in whole.items()
        if name != "off"
    }
    for name, spread in waits.items():
        print(f"{name:8} {spread:.2f} s more for the whole training, waits at both ends included")
    write_json(arguments.json, {"steps": steps, "ratio": over, "whole": whole, "added": waits})


def tracked(config: ExperimentConfig, **tracking: Any) -> ExperimentConfig:
    """Return a config that is tracked so, with a metric at every step."""
    changed = {
        "tracking": config.tracking.model_copy(update=tracking),
        "training": config.training.model_copy(update={"log_every_n_steps": 1}),
    }
    return config.model_copy(update=changed)


def measure(
    cases: dict[str, ExperimentConfig], folder: Path, turns: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return seconds a step, and seconds of the whole training, one value a turn."""
    steps: dict[str, list[float]] = {name: [] for name in cases}
    whole: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(turns + 1):
        for name, config in cases.items():
            began = time.perf_counter()
            run = train(config, folder / f"{name}{turn}").folder
            seconds = time.perf_counter() - began
            # The first turn warms up, and makes the store.
            if turn:
                whole[name].append(seconds)
                epoch = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
                speed = epoch["train/windows_per_second"]
                steps[name].append(config.training.batch_size / speed)
    return steps, whole


if __name__ == "__main__":
    main()
