"""What grows with the data: time of a step, and memory beside the bytes of the data.

python benchmarks/growth.py --json growth.json

Each case trains a small model for some hundred steps in a process of its own, on series of random
numbers that are laid out as a CSV would be. Series get 10 and 100 times as long, or items 100 and
10,000 times as many. Printed are the time of a step beside that of the smallest case, in turn, and
the memory that the process has taken on top of that case: per byte of the data, and with the bytes
of what is kept of each window counted as data: 12 for item and origin, and 4 for its place in the
order of an epoch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from feeding import MINUTE, make_schema
from taking_turns import Spread, ratios, write_json

from mmts.data.batch import Batch
from mmts.data.findings.facts import count_stream_bytes
from mmts.data.gathering import WindowGatherer
from mmts.data.schema import DataSchema, StreamSchema
from mmts.data.streams import Stream
from mmts.data.windows import list_origins
from mmts.model import ModelConfig, MultimodalForecaster
from mmts.training.config import TrainingConfig
from mmts.training.loader import ShuffledBatches
from mmts.training.optimisation import Optimisation

BATCH = 64


@dataclass(frozen=True)
class Case:
    """How much data there is; rows are of the fastest stream, per item."""

    num_items: int
    num_rows: int

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f"{self.num_items:,} x {self.num_rows:,} rows"


CASES = {
    "length": [Case(1, 20_000), Case(1, 200_000), Case(1, 2_000_000)],
    "items": [Case(1, 1_000), Case(100, 1_000), Case(10_000, 1_000)],
}


def main() -> None:
    """Measure all cases in turn, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    found = {}
    for what, cases in CASES.items():
        turns = [[run(case, arguments.steps) for case in cases] for _ in range(arguments.turns)]
        print(f"more {what}")
        found[what] = []
        for place, case in enumerate(cases):
            own, least = ([turn[n] for turn in turns] for n in (place, 0))
            step = Spread.of([1e3 * run["step"] for run in own])
            ratio = ratios([run["step"] for run in own], [run["step"] for run in least])
            data = own[0]["data"] - least[0]["data"]
            index = own[0]["index"] - least[0]["index"]
            memory = Spread.of([o["memory"] - n["memory"] for o, n in zip(own, least, strict=True)])
            print(f"  {case.name:24} {step:.2f} ms a step, {ratio:.3f} of the smallest", end="")
            if data:
                print(
                    f"; {memory.median / 1e6:,.0f} MB more memory for {data / 1e6:,.0f} MB more "
                    f"data and {index / 1e6:,.0f} MB of windows: {memory.median / data:.2f} and "
                    f"{memory.median / (data + index):.2f}",
                    end="",
                )
            print()
            found[what].append(
                {**asdict(case), "milliseconds": step, "ratio": ratio, "data_bytes": data,
                 "index_bytes": index, "memory_bytes": memory}
            )  # fmt: skip
    write_json(arguments.json, found)


def run(case: Case, steps: int) -> dict[str, Any]:
    """Measure one case in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(case, steps, sender))
    process.start()
    found: dict[str, Any] = json.loads(receiver.recv())
    process.join()
    return found


def _measure(case: Case, steps: int, sender: Any) -> None:
    torch.set_num_threads(1)
    schemas = {
        "load": make_schema("load", 15, 96, 4),
        "weather": make_schema("weather", 60, 24, 3),
        "report": make_schema("report", 1440, 3, 2),
    }
    schema = DataSchema(streams=schemas, target_stream="load", horizon=24, has_time_zone=True)
    span = case.num_rows * 15 * MINUTE
    streams = {name: make_series(own, span, case.num_items) for name, own in schemas.items()}
    windows = list_origins(streams["load"], schema, 0, span)
    encoder = {"kind": "linear", "dim": 16, "num_layers": 2}
    config = ModelConfig.model_validate(
        {"encoders": dict.fromkeys(schemas, encoder), "head": {"kind": "point", "dim": 16}}
    )
    model = MultimodalForecaster(schema, config, {name: {} for name in schemas}, seed=1)
    optimisation = Optimisation(model.train(), TrainingConfig(), steps)
    gatherer = WindowGatherer(schema, streams, windows)
    for step, batch in enumerate(endless(gatherer, steps + 20)):
        # The first steps prepare what later ones find.
        if step == 20:
            began = time.perf_counter()
        optimisation.loss(batch).backward()
        optimisation.descend(step)
    sender.send(
        json.dumps(
            {
                "step": (time.perf_counter() - began) / steps,
                "memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                "data": sum(count_stream_bytes(stream) for stream in streams.values()),
                # Item and origin of each window, and its place in the order of the epoch.
                "index": len(windows) * (4 + 8 + 4),
            }
        )
    )


def endless(gatherer: WindowGatherer, steps: int) -> Iterator[Batch]:
    """Yield so many batches, over several epochs where one has fewer."""
    taken = 0
    for epoch in count():
        for batch in ShuffledBatches(gatherer, BATCH, 1, epoch, max_batches=steps - taken):
            yield batch
            taken += 1
        if taken >= steps:
            return


def make_series(schema: StreamSchema, span: int, num_items: int) -> Stream:
    """Make rows without gaps; nothing larger than they are is made on the way."""
    assert schema.clock is not None
    length = span // schema.clock.every
    items = torch.arange(num_items)
    shape = (num_items * length, schema.num_channels)
    return Stream(
        schema=schema,
        values=torch.empty(shape).normal_(),
        observed=torch.ones(shape, dtype=torch.bool),
        begin=items * length,
        end=(items + 1) * length,
        first_time=torch.zeros_like(items),
        event_times=torch.zeros(0, dtype=torch.int64),
        available=torch.zeros(0, dtype=torch.int64),
    )


if __name__ == "__main__":
    main()
