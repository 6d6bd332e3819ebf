"""How many threads a training step wants, by the size of the model.

python benchmarks/threads.py --json threads.json

Steps of models from tiny to mid-size, on one thread and on all, in turn. `work` is weights times
tokens of the target's encoder times windows of a batch: about how many multiplications of a pass.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
from feeding import make_gatherer
from taking_turns import Action, Spread, ratios, time_in_turn, write_json

from mmts.model import ModelConfig, MultimodalForecaster
from mmts.training.config import TrainingConfig
from mmts.training.loader import ShuffledBatches
from mmts.training.module import count_parameters
from mmts.training.optimisation import Optimisation

MODELS: dict[str, dict[str, Any]] = {
    "linear 16": {"kind": "linear", "dim": 16, "num_layers": 1},
    "mlp 16": {"kind": "mlp", "dim": 16, "num_layers": 1},
    "patch 16": {"kind": "patch", "dim": 16, "num_layers": 1, "patch_length": 16},
    "patch 64": {"kind": "patch", "dim": 64, "num_layers": 3, "patch_length": 16},
    "conv 64": {"kind": "conv", "dim": 64, "num_layers": 3},
    "patch 256": {"kind": "patch", "dim": 256, "num_layers": 4, "patch_length": 16},
}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    if "OMP_WAIT_POLICY" not in os.environ:
        # As the commands have it, and read before the first thread starts: anew, with it.
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    threads = sorted(set(arguments.threads))
    gatherer = make_gatherer({"load": (15, 192, 7)}, late=False)
    found = []
    for name in arguments.models:
        for batch in arguments.batch:
            actions: dict[str, Action] = {}
            step, weights, tokens = prepare(gatherer, MODELS[name], batch)
            for count in threads:
                actions[str(count)] = on_threads(count, step)
            seconds = time_in_turn(actions, arguments.turns)
            row = {
                "model": name,
                "batch": batch,
                "weights": weights,
                "work": weights * tokens * batch,
                "milliseconds": {
                    n: Spread.of([1e3 * s for s in own]) for n, own in seconds.items()
                },
                "of_one": {n: ratios(own, seconds[str(threads[0])]) for n, own in seconds.items()},
            }
            found.append(row)
            print(
                f"{name:10} batches of {batch:4}, {weights:9,} weights, work {row['work']:.1e}: "
                + ", ".join(
                    f"{n} thread{'s' if n != '1' else ''} {row['milliseconds'][n]:.2f} ms "
                    f"({row['of_one'][n].median:.2f})"
                    for n in actions
                ),
                flush=True,
            )
    write_json(arguments.json, {"threads": found})


def on_threads(count: int, step: Action) -> Action:
    """Return a step that first asks for so many threads, which costs next to nothing."""

    def run() -> None:
        torch.set_num_threads(count)
        step()

    return run


def prepare(gatherer: Any, encoder: dict[str, Any], size: int) -> tuple[Action, int, int]:
    """Build a model; returns a step of it with its gathering, weights, and tokens of a window."""
    config = ModelConfig.model_validate(
        {"encoders": {"load": encoder}, "interactions": [], "head": {"kind": "quantile"}}
    )
    model = MultimodalForecaster(gatherer.schema, config, {"load": {}}, seed=1).train()
    optimisation = Optimisation(model, TrainingConfig(), num_steps=1_000_000)
    batches = iter(ShuffledBatches(gatherer, size, seed=0, epoch=0))
    tokens = 192 // encoder.get("patch_length", 1)

    def step() -> None:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(ShuffledBatches(gatherer, size, seed=0, epoch=0))
            batch = next(batches)
        optimisation.loss(batch).backward()
        optimisation.descend(0)

    return step, count_parameters(model), tokens


if __name__ == "__main__":
    main()
