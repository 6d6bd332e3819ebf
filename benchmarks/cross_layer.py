"""When layers must condition each other across streams: a task whose best error is known.

python benchmarks/cross_layer.py --variants none late-attention film@2 ladder --seeds 3

`regimes.py` describes the task. What stream A knows must reach stream B before B's layers multiply
neighbouring tokens. Every variant is the shipped model with the same encoders, head, optimiser,
number of steps and windows, drawn afresh for every step; they differ in the interactions alone.
With several `--learning-rate`, each variant takes the one with the least mean error on windows of
its own for validation. Printed is the mean squared error on 20,000 further windows, beside the
floor and the best that is possible without A; `--json FILE` keeps every run, and does none twice.

`KIND@3` is one edge from A's output into layer 3 of B, `KIND@0` into its embedding, `late-KIND`
into its output, before the head; `late-KIND-wide` has a head of twice the width; `+noise` adds the
same edge from the noise of stream N. Presets have their defaults, and read both other streams.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any, get_args

import torch
from regimes import RegimeTask, Sample
from torch import Tensor, nn

from mmts.data.batch import without_stream
from mmts.interactions.kinds import InteractionConfig
from mmts.interactions.presets import PresetConfig
from mmts.losses import masked_mean
from mmts.model import ModelConfig, MultimodalForecaster
from mmts.training.config import TrainingConfig
from mmts.training.module import ForecastingModule, count_parameters

DIM = 40
NUM_LAYERS = 4
NUM_TEST = 20_000
NUM_VALIDATION = 5_000
CHUNK = 1_000
"""Windows that are forecast together in a test."""
STEPS_AT_ONCE = 50
"""Training batches that are drawn together: many small draws would cost more than the model."""
LEAK = 4
"""Standard errors below the floor that no honest model reaches."""

KINDS = tuple(
    config.model_fields["kind"].default for config in get_args(get_args(InteractionConfig)[0])
)
PRESETS = get_args(PresetConfig.model_fields["preset"].annotation)


@dataclass(frozen=True)
class Variant:
    """A way to connect the streams: what stands in `model.interactions`, and the head's width."""

    interactions: tuple[dict[str, Any], ...]
    head_dim: int = DIM


@dataclass(frozen=True)
class Run:
    """All that decides the numbers of one training."""

    variant: str
    seed: int
    learning_rate: float
    steps: int
    batch: int
    stream_dropout: float
    regimes: int
    channels: int
    tokens: int
    world: int


def list_variants() -> dict[str, Variant]:
    """Return every variant by its name."""
    found = {"none": Variant(())}
    for kind in (*KINDS, "weighted-token"):
        settings: dict[str, Any] = {"kind": kind}
        if kind == "weighted-token":
            settings = {"kind": "weighted", "weights": "token"}
        places = {f"{kind}@{layer}": f"B.{layer}" for layer in range(NUM_LAYERS + 1)}
        for name, to in {**places, f"late-{kind}": "B.out"}.items():
            edge = {**settings, "from": "A.out", "to": to}
            found[name] = Variant((edge,))
            found[f"{name}+noise"] = Variant((edge, {**edge, "from": "N.out"}))
        found[f"late-{kind}-wide"] = Variant(found[f"late-{kind}"].interactions, 2 * DIM)
    for preset in PRESETS:
        found[preset if preset != "none" else "no-preset"] = Variant(({"preset": preset},))
        for kind in get_args(PresetConfig.model_fields["kind"].annotation):
            found[f"{preset}-{kind}"] = Variant(({"preset": preset, "kind": kind},))
    return found


def build_model(task: RegimeTask, variant: Variant, stream_dropout: float, seed: int) -> Any:
    """Build the shipped model for a variant."""
    alone = {"kind": "mlp", "num_layers": 2, "dropout": 0.0}
    config = ModelConfig.model_validate(
        {
            "encoders": {
                "A": {**alone, "dim": DIM},
                # Every layer sees a token's neighbours, and could multiply them: attention takes
                # most of the steps to find them, and with wider gaps only layer 1 has them.
                "B": {
                    "kind": "conv",
                    "num_layers": NUM_LAYERS,
                    "dim": DIM,
                    "dropout": 0.0,
                    "dilation_growth": 1,
                },
                "N": {**alone, "dim": 16},
            },
            "interactions": variant.interactions,
            "head": {"kind": "point", "dim": variant.head_dim, "dropout": 0.0},
            "window_normalization": False,
            "stream_dropout": stream_dropout,
        }
    )
    schema = task.schema()
    return MultimodalForecaster(schema, config, {name: {} for name in schema.streams}, seed)


def train(task: RegimeTask, model: MultimodalForecaster, run: Run) -> None:
    """Train by the optimiser and the schedule of `mmts train`, in a bare loop."""
    settings = TrainingConfig(learning_rate=run.learning_rate, batch_size=run.batch)
    module = ForecastingModule(model, settings, run.seed, run.steps)
    made: Any = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for group in optimizer.param_groups:
        # The same arithmetic in one call for all weights.
        group["fused"] = True
    torch.manual_seed(run.seed)
    weights = [p for p in model.parameters() if p.requires_grad]
    model.train()
    for sample in draw_batches(task, run):
        batch = task.batch(sample)
        losses = model.head.loss(model(batch), batch.target)
        loss = masked_mean(losses, batch.target_observed)
        optimizer.zero_grad()
        loss.backward()
        assert settings.gradient_clip is not None
        nn.utils.clip_grad_norm_(weights, settings.gradient_clip, foreach=True)
        optimizer.step()
        scheduler.step()
    model.eval()


def draw_batches(task: RegimeTask, run: Run) -> Iterator[Sample]:
    """Yield the batches of a training; no window comes twice."""
    generator = torch.Generator().manual_seed(1_000_003 * (run.world + 1) + run.seed)
    for first in range(0, run.steps, STEPS_AT_ONCE):
        count = min(STEPS_AT_ONCE, run.steps - first)
        sample = task.sample(count * run.batch, generator)
        for step in range(count):
            yield sample[step * run.batch : (step + 1) * run.batch]


def measure(
    task: RegimeTask, model: MultimodalForecaster, sample: Sample, without: str | None = None
) -> float:
    """Return the mean squared error, with one stream absent if asked for."""
    errors = []
    with torch.inference_mode():
        for first in range(0, len(sample), CHUNK):
            batch = task.batch(sample[first : first + CHUNK])
            if without is not None:
                batch = without_stream(batch, without)
            errors.append(model.head.loss(model(batch), batch.target))
    return float(torch.cat(errors).double().mean())


def perform(run: Run, threads: int) -> dict[str, Any]:
    """Train and test one variant with one seed."""
    torch.set_num_threads(threads)
    task = RegimeTask(run.regimes, run.channels, run.tokens, run.world)
    model = build_model(task, list_variants()[run.variant], run.stream_dropout, run.seed)
    began = time.process_time()
    train(task, model, run)
    seconds = time.process_time() - began
    validation, test = (
        task.sample(size, torch.Generator().manual_seed(seed))
        for size, seed in ((NUM_VALIDATION, 11), (NUM_TEST, 12))
    )
    return {
        **asdict(run),
        "validation": measure(task, model, validation),
        "test": measure(task, model, test),
        "test_without_A": measure(task, model, test, without="A"),
        "strengths": model.edge_strengths(task.batch(test[:CHUNK])),
        "parameters": count_parameters(model),
        "seconds": seconds,
    }


def perform_all(runs: list[Run], jobs: int, threads: int) -> Iterator[dict[str, Any]]:
    """Yield what each run measured, as soon as it is done."""
    if jobs == 1:
        yield from (perform(run, threads) for run in runs)
        return
    # Forked processes would share the state of torch's threads.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        waiting = [pool.submit(perform, run, threads) for run in runs]
        yield from (done.result() for done in as_completed(waiting))


def check_floor(found: Mapping[str, Any], floor: float) -> None:
    """Stop where an error lies clearly below what is possible."""
    # The squared error of the best forecast is the noise's: a variance times chi-squared.
    least = floor * (1 - LEAK * math.sqrt(2 / NUM_TEST))
    if found["test"] < least:
        sys.exit(
            f"{found['variant']}, seed {found['seed']}: a test error of {found['test']:.4f} is "
            f"below the floor of {floor:.3f}. Nothing honest can do that: there is a leak."
        )


def main() -> None:
    """Train what is missing, keep it, and print the table."""
    arguments = parse_arguments()
    task = RegimeTask(arguments.regimes, arguments.channels, arguments.tokens, arguments.world)
    describe(task)
    runs = [
        Run(
            variant=variant,
            seed=seed,
            learning_rate=rate,
            steps=arguments.steps,
            batch=arguments.batch,
            stream_dropout=arguments.stream_dropout,
            regimes=arguments.regimes,
            channels=arguments.channels,
            tokens=arguments.tokens,
            world=arguments.world,
        )
        for seed in range(1, arguments.seeds + 1)
        for variant in arguments.variants
        for rate in arguments.learning_rate
    ]
    kept: list[dict[str, Any]] = []
    if arguments.json and arguments.json.exists():
        kept = json.loads(arguments.json.read_text())
    missing = [run for run in runs if find(kept, run) is None]
    for found in perform_all(missing, arguments.jobs, arguments.threads):
        print(
            f"{found['variant']}, seed {found['seed']}, {found['learning_rate']:g}: "
            f"{found['test']:.4f}, {1e3 * found['seconds'] / found['steps']:.1f} ms a step of CPU",
            file=sys.stderr,
        )
        kept.append(found)
        if arguments.json:
            written = arguments.json.with_suffix(".new")
            written.write_text(json.dumps(kept, indent=1) + "\n")
            written.replace(arguments.json)
        check_floor(found, task.floor)
    report([found for run in runs if (found := find(kept, run)) is not None])


def find(kept: list[dict[str, Any]], run: Run) -> dict[str, Any] | None:
    """Return what was measured in a run, if it was done."""
    wanted = asdict(run)
    return next((f for f in kept if {name: f.get(name) for name in wanted} == wanted), None)


def describe(task: RegimeTask) -> None:
    """Print what can be known of the task, as derived and as measured on the test windows."""
    sample = task.sample(NUM_TEST * 10, torch.Generator().manual_seed(0))

    def measured(errors: Tensor) -> str:
        squares = errors.double() ** 2
        return f"{squares.mean():.4f} ± {squares.std() / math.sqrt(len(squares)):.4f}"

    without = sample.target - task.forecast_without_codes(sample.tokens)
    print(f"variance of the target   {task.variance:.4f}, measured {measured(sample.target)}")
    print(f"best without A           {task.best_without_codes:.4f}, measured {measured(without)}")
    print(f"floor                    {task.floor:.4f}, measured {measured(sample.unexplained)}")


def report(found: list[dict[str, Any]]) -> None:
    """Print mean and spread over seeds, at each variant's best learning rate."""
    groups: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for run in found:
        groups.setdefault(run["variant"], {}).setdefault(run["learning_rate"], []).append(run)
    print(f"\n{'':24}{'MSE':>15}{'A missing':>11}{'weights':>9}{'s':>6}{'rate':>8}  strengths")
    for variant, by_rate in groups.items():
        rate = min(by_rate, key=lambda rate: mean(run["validation"] for run in by_rate[rate]))
        runs = by_rate[rate]
        errors = [run["test"] for run in runs]
        spread = f" ± {stdev(errors):.4f}" if len(errors) > 1 else ""
        strengths = [
            f"{mean(run['strengths'][name] for run in runs):.2f}" for name in runs[0]["strengths"]
        ]
        print(
            f"{variant:24}{f'{mean(errors):.4f}{spread}':>15}"
            f"{mean(run['test_without_A'] for run in runs):11.3f}{runs[0]['parameters']:9,}"
            f"{mean(run['seconds'] for run in runs):6.0f}{rate:8g}  {' '.join(strengths)}"
        )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = list_variants()
    parser.add_argument("--variants", nargs="+", default=["none", "late-attention", "ladder"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=96, help="windows per step")
    parser.add_argument("--learning-rate", type=float, nargs="+", default=[3e-3])
    parser.add_argument("--stream-dropout", type=float, default=0.0)
    parser.add_argument("--regimes", type=int, default=8)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=12, help="even, and a multiple of three")
    parser.add_argument("--world", type=int, default=1, help="seed of the regimes' vectors")
    parser.add_argument("--json", type=Path, help="file of all runs; those in it are not repeated")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, default=1, help="per process")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.variants if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}. There are: {', '.join(known)}")
    return arguments


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
