"""What mixed precision costs in accuracy: the same training by 32-true and by bf16-mixed.

python benchmarks/precision.py --json precision.json

Trains the demo with the same seeds, windows and steps in both, from the same fitted linear path,
and prints the validation losses after the same number of steps, one as the others were measured:
in the arithmetic of the training. The time of a step stands beside, as bf16 is there to save it.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytorch_lightning as pl
import torch
from taking_turns import Spread, ratios, write_json
from training_overhead import EpochClock

from mmts.config import load_config
from mmts.data.dataset import load_dataset
from mmts.training.data_module import WindowDataModule
from mmts.training.fitting import fit
from mmts.training.linear_start import LinearFits, start_model
from mmts.training.module import ForecastingModule

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS = ("32-true", "bf16-mixed")


class LastLoss(pl.Callback):
    """Keeps the validation loss, the last one and that of the start."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep it."""
        assert isinstance(pl_module, ForecastingModule)
        self.losses.append(pl_module.validation_loss)


def main() -> None:
    """Train all, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs/nyc_departures.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of an epoch at most; by default all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds: 2 at least, as a spread is told")
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)
    found: dict[str, list[dict[str, float]]] = {precision: [] for precision in PRECISIONS}
    known: LinearFits = {}
    dataset = load_dataset(load_config(arguments.config).data)
    for seed in range(1, arguments.seeds + 1):
        for precision in PRECISIONS:
            overrides = [
                f"seed={seed}", f"training.precision={precision}",
                f"training.max_epochs={arguments.epochs}",
                f"training.accelerator={arguments.accelerator}",
            ]  # fmt: skip
            if arguments.steps is not None:
                overrides.append(f"training.steps_per_epoch={arguments.steps}")
            config, model = start_model(load_config(arguments.config, overrides), dataset, known)
            data = WindowDataModule(dataset, config.training, seed)
            loss, clock = LastLoss(), EpochClock()
            fit(config, model, data, [loss, clock])
            found[precision].append(
                {
                    "steps": data.num_steps,
                    "start": loss.losses[0],
                    "loss": loss.losses[-1],
                    "milliseconds": 1e3
                    * clock.per_step(data.num_steps // arguments.epochs).seconds,
                }
            )
    report(found, arguments)


def report(found: dict[str, list[dict[str, float]]], arguments: argparse.Namespace) -> None:
    """Print and keep."""
    exact, mixed = (found[precision] for precision in PRECISIONS)
    for precision, runs in found.items():
        losses = [run["loss"] for run in runs]
        print(
            f"{precision:10} validation loss {mean(losses):.5f} ± {stdev(losses):.5f} after "
            f"{runs[0]['steps']} steps (from {runs[0]['start']:.5f}), "
            f"{Spread.of([run['milliseconds'] for run in runs]):.1f} ms a step"
        )
    change = [100 * (m["loss"] / e["loss"] - 1) for m, e in zip(mixed, exact, strict=True)]
    time: dict[str, Any] = {
        name: [run["milliseconds"] for run in runs] for name, runs in found.items()
    }
    over = ratios(time["bf16-mixed"], time["32-true"])
    print(f"bf16-mixed changes the loss by {mean(change):+.2f} % ± {stdev(change):.2f}, seed by "
          f"seed, and takes {over:.2f} of the time")  # fmt: skip
    write_json(
        arguments.json,
        {"steps": exact[0]["steps"], "runs": found, "change_percent": change, "time_ratio": over},
    )


if __name__ == "__main__":
    main()
