"""How busy a training keeps a GPU, and how many windows it feeds.

python benchmarks/gpu.py --json gpu.json
python benchmarks/gpu.py --device cpu --seconds 0.5     # the same way through the code, without one

A training as `mmts train` does it, but for Lightning: windows gathered on the device from series
that lie there, forward, backward, clipping, AdamW and the mean of the weights. For a small and a
mid-size model, each by 32-true and bf16-mixed: with each calculation asked for (`plain`), with the
step recorded as a CUDA graph and played back (`recorded`, what `mmts train` does), and, by
bf16-mixed, recorded of a compiled model (`compiled`). Without a GPU it says so and ends well.

busy    share of the time in which a kernel runs, by torch.profiler over some steps of their own
memory  the most that was allocated on the device, series included
waits   whether one of the steps made the host wait for the device; none should
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from feeding import make_gatherer
from taking_turns import Spread, write_json
from torch.profiler import ProfilerActivity, profile

from mmts.data.batch import Batch
from mmts.data.gathering import WindowGatherer
from mmts.model import ModelConfig, MultimodalForecaster
from mmts.training.config import TrainingConfig
from mmts.training.loader import ShuffledBatches
from mmts.training.module import count_parameters, seed_dropout
from mmts.training.optimisation import Optimisation
from mmts.training.recording import NUM_BEFORE, CudaGraph, RecordedSteps

STREAMS = {"load": (15, 192, 7), "weather": (60, 48, 5), "report": (1440, 7, 3)}


def sized(dim: int, num_layers: int) -> dict[str, Any]:
    """Describe a model of three streams and two edges."""
    return {
        "encoders": {
            "load": {"kind": "patch", "dim": dim, "num_layers": num_layers, "patch_length": 12},
            "weather": {"kind": "conv", "dim": dim // 2, "num_layers": 2},
            "report": {"kind": "mlp", "dim": dim // 2, "num_layers": 1},
        },
        "interactions": [
            {"kind": "attention", "from": "weather.1", "to": "load.2"},
            {"kind": "residual", "from": "report.1", "to": "load.2"},
        ],
        "head": {"kind": "quantile", "dim": dim},
    }


MODELS = {"small": sized(32, 2), "mid-size": sized(256, 6)}
PRECISIONS = ("32-true", "bf16-mixed")
WAYS = ("plain", "recorded", "compiled")


def main() -> None:
    """Measure, print and keep, where there is a device to do it on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, about")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(
            "There is no GPU on this machine that this torch can use: nothing was measured. "
            "--device cpu goes the same way without one."
        )
        write_json(arguments.json, {"device": None, "gpu": []})
        return
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(f"{name}, batches of {arguments.batch}")
    gatherer = make_gatherer(STREAMS, late=False).to(device)
    found = []
    for way, model, precision in product(arguments.ways, arguments.models, PRECISIONS):
        if way == "compiled" and precision != "bf16-mixed":
            # It takes a minute each, and who waits for it wants the fastest.
            continue
        row = {"model": model, "precision": precision, "way": way}
        row |= measure(gatherer, MODELS[model], precision, way, arguments)
        found.append(row)
        busy = "" if row["busy"] is None else f", busy {row['busy']:.0%}"
        memory = "" if row["memory"] is None else f", {row['memory'] / 1e6:,.0f} MB"
        waits = {None: "", True: ", waits for the device", False: ", never waits"}[row["waits"]]
        print(
            f"  {model:9}{row['weights']:>10,} weights  {precision:10} "
            f"{way:8} {row['windows_per_second']:,.0f} "
            f"windows/s, {row['milliseconds']:.2f} ms a step{busy}{memory}{waits}"
        )
        write_json(arguments.json, {"device": name, "batch": arguments.batch, "gpu": found})


class Stepper:
    """Takes steps of a training, one after another, for ever."""

    def __init__(
        self,
        gatherer: WindowGatherer,
        settings: dict[str, Any],
        precision: str,
        way: str,
        batch_size: int,
    ) -> None:
        """Build the model on the device of the series."""
        config = ModelConfig.model_validate(settings)
        sizes: dict[str, dict[str, int]] = {name: {} for name in gatherer.schema.streams}
        self.device = gatherer.windows.items.device
        model = MultimodalForecaster(gatherer.schema, config, sizes, seed=1)
        self.model = model.to(self.device).train()
        training = TrainingConfig(compile=way == "compiled")
        self.steps: Optimisation | RecordedSteps = Optimisation(
            self.model, training, num_steps=1_000_000
        )
        if way != "plain" and self.device.type == "cuda":
            self.steps = RecordedSteps(self.steps, CudaGraph)
        self.is_mixed = precision == "bf16-mixed"
        self.batches = self._whole_batches(gatherer, batch_size)
        self.num_steps = 0

    @staticmethod
    def _whole_batches(gatherer: WindowGatherer, size: int) -> Iterator[Batch]:
        """Yield batches of one size: another would be compiled anew."""
        for epoch in range(1_000_000):
            most = max(1, len(gatherer) // size)
            yield from ShuffledBatches(gatherer, size, seed=0, epoch=epoch, max_batches=most)

    def take(self, count: int) -> None:
        """Take so many steps."""
        for batch in islice(self.batches, count):
            # As Lightning does it.
            seed_dropout(self.num_steps, self.device)
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.is_mixed, cache_enabled=False
            ):
                self.steps.take(batch, self.num_steps)
            self.num_steps += 1

    def take_timed(self, count: int) -> float:
        """Take so many steps; returns seconds until the device has done them."""
        self.wait()
        began = time.perf_counter()
        self.take(count)
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure(
    gatherer: WindowGatherer,
    settings: dict[str, Any],
    precision: str,
    way: str,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Train a model for a while; returns rate, share of busy time, memory and waiting."""
    on_gpu = gatherer.windows.items.is_cuda
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    stepper = Stepper(gatherer, settings, precision, way, arguments.batch)
    # The first steps compile, choose kernels, allocate, and record.
    stepper.take(NUM_BEFORE + 2)
    one = stepper.take_timed(2) / 2
    count = max(2, round(arguments.seconds / one / arguments.turns))
    seconds = [stepper.take_timed(count) / count for _ in range(arguments.turns)]
    return {
        "weights": count_parameters(stepper.model),
        "windows_per_second": arguments.batch / Spread.of(seconds).median,
        "milliseconds": Spread.of([1e3 * s for s in seconds]),
        "busy": share_busy(stepper, min(count, 30)) if on_gpu else None,
        "memory": torch.cuda.max_memory_allocated() if on_gpu else None,
        "waits": makes_host_wait(stepper) if on_gpu else None,
    }


def share_busy(stepper: Stepper, count: int) -> float:
    """Return the share of time in which at least one kernel runs on the device."""
    stepper.wait()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiler:
        seconds = stepper.take_timed(count)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    return united(spans) / 1e6 / seconds


def united(spans: list[tuple[float, float]]) -> float:
    """Return how long at least one of the spans lasts, in their unit; they are in order."""
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def makes_host_wait(stepper: Stepper) -> bool:
    """Take steps while every wait for the device is an error; returns whether there was one."""
    with forbid_waiting():
        try:
            stepper.take(4)
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            return True
    return False


@contextmanager
def forbid_waiting() -> Iterator[None]:
    """Make an error of every wait for the device, as far as torch sees it."""
    # It warns that it may overlook some.
    warnings.filterwarnings("ignore", "Synchronization debug mode")
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


if __name__ == "__main__":
    main()
