"""One training on the synthetic task, and what is measured of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import torch
from cross_variants import build_model, build_task, configure_equal, list_variants
from regimes import RegimeTask, Sample
from torch import Tensor

from mmts.data.batch import without_stream
from mmts.explanation.costs import switched_off
from mmts.model import ModelConfig, MultimodalForecaster
from mmts.training.config import TrainingConfig
from mmts.training.module import count_parameters
from mmts.training.optimisation import Optimisation

FORMAT = 2
"""Raised when a run would give other numbers, or other fields, from the same settings."""
NUM_TEST = 20_000
NUM_VALIDATION = 5_000
CHUNK = 1_000
"""Windows that are forecast together in a test."""
STEPS_AT_ONCE = 50
"""Training batches that are drawn together: many small draws would cost more than the model."""


@dataclass(frozen=True)
class Run:
    """All that decides the numbers of one training.

    model: its settings as JSON, with encoders, interactions and head. format: as of `FORMAT`.
    """

    task: str
    variant: str
    seed: int
    learning_rate: float
    steps: int
    batch: int
    regimes: int
    channels: int
    tokens: int
    world: int
    model: str
    format: int = FORMAT

    def build_task(self) -> RegimeTask:
        """Build the task as this variant sees it."""
        variant = list_variants(self.task)[self.variant]
        return build_task(self.task, variant, self.regimes, self.channels, self.tokens, self.world)


def describe_model(
    task: str,
    variant: str,
    stream_dropout: float,
    regimes: int = 8,
    channels: int = 4,
    tokens: int = 12,
    world: int = 1,
) -> str:
    """Return the settings of the model for a variant, for the key of its runs."""
    chosen = list_variants(task)[variant]
    built = build_task(task, chosen, regimes, channels, tokens, world)
    config = configure_equal(task, chosen, built, stream_dropout)
    return json.dumps(config.model_dump(mode="json", by_alias=True), sort_keys=True)


def train(task: RegimeTask, model: MultimodalForecaster, run: Run) -> None:
    """Train by the optimiser and the schedule of `mmts train`, in a bare loop."""
    settings = TrainingConfig(learning_rate=run.learning_rate, batch_size=run.batch)
    optimisation = Optimisation(model, settings, run.steps)
    torch.manual_seed(run.seed)
    model.train()
    for step, sample in enumerate(draw_batches(task, run)):
        optimisation.loss(task.batch(sample)).backward()
        optimisation.descend(step)
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
) -> Tensor:
    """Return the squared error of each window, (window,), with one stream absent if asked for."""
    errors = []
    with torch.inference_mode():
        for first in range(0, len(sample), CHUNK):
            batch = task.batch(sample[first : first + CHUNK])
            if without is not None:
                batch = without_stream(batch, without)
            errors.append(model.head.loss(model(batch), batch.target))
    return torch.cat(errors).double().flatten()


def measure_edges(
    task: RegimeTask, model: MultimodalForecaster, sample: Sample, errors: Tensor
) -> dict[str, dict[str, float]]:
    """Return of each edge its strength, and what it costs to switch it off.

    errors: of the whole model, (window,). The cost is the mean rise of a window's squared error;
    windows are independent, and so is its standard error the plain one.
    """
    found = {}
    for name, strength in model.edge_strengths(task.batch(sample[:CHUNK])).items():
        with switched_off(model, [name]):
            rise = measure(task, model, sample) - errors
        found[name] = {
            "strength": strength,
            "cost": float(rise.mean()),
            "standard_error": float(rise.std() / math.sqrt(len(rise))),
        }
    return found


def perform(run: Run, threads: int) -> dict[str, Any]:
    """Train and test one variant with one seed."""
    torch.set_num_threads(threads)
    task = run.build_task()
    model = build_model(task, ModelConfig.model_validate_json(run.model), run.seed)
    began = time.process_time()
    train(task, model, run)
    seconds = time.process_time() - began
    validation, test = (
        task.sample(size, torch.Generator().manual_seed(seed))
        for size, seed in ((NUM_VALIDATION, 11), (NUM_TEST, 12))
    )
    errors = measure(task, model, test)
    # What stands in B's own tokens does not go with stream A.
    reads_stream = task.lags == 0
    without = float(measure(task, model, test, without="A").mean()) if reads_stream else None
    return {
        **asdict(run),
        "validation": float(measure(task, model, validation).mean()),
        "test": float(errors.mean()),
        "test_without_A": without,
        "edges": measure_edges(task, model, test, errors),
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
