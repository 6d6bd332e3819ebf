"""What a training costs beside a bare loop over the same model and ready tensors.

python benchmarks/training_overhead.py --json training_overhead.json

Times per optimiser step, from the beginning of an epoch to its last step:

bare      forward, backward, clipping and AdamW over batches that were gathered before
plain     the same batches and steps by Lightning as it comes, automatic optimisation, with neither
          logger, nor progress bar, nor checkpoints
fed       the same as `plain`, but windows are gathered in the step, by the loader of `mmts train`
mmts      `mmts train` with all that a user has on: windows gathered in the step, progress bar,
          MLflow, history, checkpoints

What mmts adds to `fed` is what a user has on; what it adds to `plain`, to gather windows besides.

They take turns, and ratios are taken within each turn. Beside the time that goes by stands what
all threads of the process computed for meanwhile: it leaves out what other processes took, and
counts in full what MLflow and the bar do beside the steps.

How long the same arithmetic takes varies by more than what is added. `--models rest long-rest`
therefore sleep for about as long as `linear` and `transformer` compute, so that next to nothing
else is computed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from taking_turns import Spread, ratios, write_json
from torch import Tensor

from mmts.checkpoint import build_model
from mmts.config import ExperimentConfig, load_config
from mmts.data.batch import Batch
from mmts.data.dataset import Dataset, load_dataset
from mmts.experiment import train
from mmts.model import MultimodalForecaster
from mmts.training.callbacks import EpochLog
from mmts.training.loader import ShuffledBatches
from mmts.training.optimisation import Optimisation
from mmts.training.quiet import quiet_lightning

CONTEXT, HORIZON, CHANNELS = 192, 96, 7

RESTS = {"rest": 1.5e-4, "long-rest": 7e-4}
"""Seconds that a model sleeps for each window of a batch."""

_LINEAR = ("{kind: linear, dim: 8, num_layers: 1}", "{kind: point, dim: 8, max_queries: 1}")
MODELS = {
    # As small as a model gets: next to nothing is computed, and what is added shows most.
    "linear": _LINEAR,
    "transformer": (
        "{kind: patch, dim: 64, num_layers: 3, patch_length: 16}",
        "{kind: point}",
    ),
    **dict.fromkeys(RESTS, _LINEAR),
}
"""Encoder and head of each."""

CONFIG = """
name: overhead
data:
  horizon: {horizon}
  streams:
    load: {{path: load.csv, time: time, target: [c0], past: [{past}], context_length: {context}}}
  split: {{validation: 0.98, test: 0.99}}
model:
  encoders: {{load: {encoder}}}
  interactions: []
  head: {head}
  # Nothing is left to choose, so that all train the same.
  linear: {{level: last, reads: own, recent: 1, units: train}}
training: {{max_epochs: 1, batch_size: {batch}, steps_per_epoch: {steps}}}
"""


class PlainModule(pl.LightningModule):
    """What a Lightning user writes."""

    def __init__(self, optimisation: Optimisation) -> None:
        super().__init__()
        self.model = optimisation.forward
        self.optimisation = optimisation

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss."""
        return self.optimisation.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the same optimiser."""
        return self.optimisation.optimizer

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Return the batch as it is: on a CPU it is there."""
        return batch


class ReadyBatches:
    """Batches in memory as a loader: of a plain list, Lightning would take each for a loader."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class Taken(NamedTuple):
    """Seconds that went by, and that all threads computed for."""

    seconds: float
    cpu: float

    @classmethod
    def now(cls) -> Taken:
        """Read both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def per_step_since(self, began: Taken, steps: int) -> Taken:
        """Return what each of so many steps took."""
        return Taken((self.seconds - began.seconds) / steps, (self.cpu - began.cpu) / steps)


class EpochClock(pl.Callback):
    """Measures from the beginning of an epoch to its last step."""

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start."""
        self.began = Taken.now()

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop, until the next."""
        self.ended = Taken.now()

    def per_step(self, steps: int) -> Taken:
        """Return what each step took."""
        return self.ended.per_step_since(self.began, steps)

    @contextlib.contextmanager
    def beside_the_log(self) -> Iterator[None]:
        """Measure a training that takes no callback from outside."""
        start, end = EpochLog.on_train_epoch_start, EpochLog.on_train_batch_end

        def start_both(log: EpochLog, *given: Any) -> None:
            self.on_train_epoch_start()
            start(log, *given)

        def end_both(log: EpochLog, *given: Any) -> None:
            end(log, *given)
            self.on_train_batch_end()

        with (
            patch.object(EpochLog, "on_train_epoch_start", start_both),
            patch.object(EpochLog, "on_train_batch_end", end_both),
        ):
            yield


def main() -> None:
    """Measure all cases, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["linear", "transformer"])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--seconds", type=float, default=3.0, help="of a bare loop, about")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)
    found = []
    for model in arguments.models:
        for batch in arguments.batch:
            with tempfile.TemporaryDirectory() as folder, falling_asleep(model):
                taken = measure(model, batch, arguments, Path(folder))
            seconds = {name: [t.seconds for t in own] for name, own in taken.items()}
            computed = {name: [t.cpu for t in own] for name, own in taken.items()}
            per_step = {name: Spread.of([1e3 * s for s in own]) for name, own in seconds.items()}
            over_bare = {name: ratios(own, seconds["bare"]) for name, own in seconds.items()}
            added = {name: added_to(seconds, name) for name in ("plain", "fed")}
            added_cpu = {name: added_to(computed, name) for name in ("plain", "fed")}
            print(f"{model}, batches of {batch}, milliseconds a step:")
            for name, spread in per_step.items():
                print(f"  {name:6} {spread:.3f}   {over_bare[name]:.3f} of the bare loop")
            for name, spread in added.items():
                print(f"  mmts adds {spread:.3f} to {name}, {added_cpu[name]:.3f} computed")
            found.append(
                {
                    "model": model,
                    "batch": batch,
                    "milliseconds": per_step,
                    "ratio": over_bare,
                    "added": added,
                    "added_cpu": added_cpu,
                }
            )
    write_json(arguments.json, {"overhead": found})


@contextlib.contextmanager
def falling_asleep(name: str) -> Iterator[None]:
    """Let a model sleep where it would compute, if it is one of those that rest."""
    if name not in RESTS:
        yield
        return

    def rest(model: MultimodalForecaster, batch: Batch) -> Tensor:
        time.sleep(RESTS[name] * len(batch))
        # All weights have a gradient, so that the optimiser has as much to do as ever.
        nothing = 0 * sum(weight.sum() for weight in model.parameters())
        return (batch.target + nothing)[..., None]

    with patch.object(MultimodalForecaster, "forward", rest):
        yield


def added_to(seconds: dict[str, list[float]], name: str) -> Spread:
    """Return the milliseconds a step by which mmts takes longer, turn by turn."""
    pairs = zip(seconds["mmts"], seconds[name], strict=True)
    return Spread.of([1e3 * (own - other) for own, other in pairs])


def measure(
    model: str, batch: int, arguments: argparse.Namespace, folder: Path
) -> dict[str, list[Taken]]:
    """Return what a step of each loop took, one value a turn."""
    config = write_experiment(folder, model, batch, steps=50)
    dataset = load_dataset(config.data)
    ready = gather_ready(dataset, config)
    one = run_bare(dataset, config, ready).seconds
    steps = max(12, min(int(arguments.seconds / one), len(dataset.windows("train")) // batch))
    config = write_experiment(folder, model, batch, steps)
    ready = [ready[n % len(ready)] for n in range(steps)]
    taken: dict[str, list[Taken]] = {name: [] for name in ("bare", "plain", "fed", "mmts")}
    for turn in range(arguments.turns + 1):
        one_turn = {
            "bare": run_bare(dataset, config, ready),
            "plain": run_plain(dataset, config, ReadyBatches(ready)),
            "fed": run_plain(dataset, config, epoch_of(dataset, config, turn, steps)),
            "mmts": run_mmts(config, folder / f"run{turn}"),
        }
        # The first turn warms up.
        for name in taken if turn else ():
            taken[name].append(one_turn[name])
    return taken


def write_experiment(
    folder: Path, model: str, batch: int, steps: int, num_rows: int = 120_000
) -> ExperimentConfig:
    """Write the data, once, and the config."""
    data = folder / "load.csv"
    if not data.exists():
        random = np.random.default_rng(0)
        table = pd.DataFrame(
            random.standard_normal((num_rows, CHANNELS)).round(4),
            columns=[f"c{n}" for n in range(CHANNELS)],
            index=pd.date_range("2020-01-01", periods=num_rows, freq="15min", name="time"),
        )
        table.to_csv(data)
    path = folder / "overhead.yaml"
    past = ", ".join(f"c{n}" for n in range(1, CHANNELS))
    path.write_text(
        CONFIG.format(
            horizon=HORIZON,
            past=past,
            context=CONTEXT,
            encoder=MODELS[model][0],
            head=MODELS[model][1],
            batch=batch,
            steps=steps,
        )
    )
    return load_config(path)


def gather_ready(dataset: Dataset, config: ExperimentConfig, number: int = 50) -> list[Batch]:
    """Return batches in memory."""
    return list(epoch_of(dataset, config, 0, number))


def epoch_of(
    dataset: Dataset, config: ExperimentConfig, number: int, steps: int
) -> ShuffledBatches:
    """Return the batches of an epoch, to be gathered when it is their turn."""
    windows = dataset.windows("train")
    return ShuffledBatches(windows, config.training.batch_size, 0, number, max_batches=steps)


def prepare(dataset: Dataset, config: ExperimentConfig, steps: int) -> Optimisation:
    """Build model and optimiser anew."""
    model = build_model(config, dataset.schema, dataset.scaling)
    return Optimisation(model.train(), config.training, steps)


def run_bare(dataset: Dataset, config: ExperimentConfig, ready: Sequence[Batch]) -> Taken:
    """Return what a step of the bare loop takes."""
    optimisation = prepare(dataset, config, len(ready))
    began = Taken.now()
    for step, batch in enumerate(ready):
        optimisation.loss(batch).backward()
        optimisation.descend(step)
    return Taken.now().per_step_since(began, len(ready))


def run_plain(
    dataset: Dataset, config: ExperimentConfig, batches: ReadyBatches | ShuffledBatches
) -> Taken:
    """Return what a step of Lightning as it comes takes."""
    module = PlainModule(prepare(dataset, config, len(batches)))
    clock = EpochClock()
    with quiet_lightning():
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=1,
            gradient_clip_val=config.training.gradient_clip,
            callbacks=[clock],
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        trainer.fit(module, batches)
    return clock.per_step(len(batches))


def run_mmts(config: ExperimentConfig, folder: Path) -> Taken:
    """Return what a step of a whole training takes."""
    assert config.training.steps_per_epoch is not None
    clock = EpochClock()
    with clock.beside_the_log(), contextlib.redirect_stderr(io.StringIO()):
        train(config, folder, progress_bar=True)
    return clock.per_step(config.training.steps_per_epoch)


if __name__ == "__main__":
    main()
