"""How fast windows are fed: gathered batches beside a plain copy of the same bytes.

python benchmarks/feeding.py --json feeding.json

`one stream` has 192 steps of 7 channels and 96 steps ahead. `three streams` have rates 1, 1/4 and
1/96, as readings of every 15 minutes, an hourly and a daily one. Items begin at the same time, as
they do in most files (`--late`: each stream begins a little later for every item, and some windows
reach beyond their rows). The copy is of ready tensors into ready memory: nothing that hands out
windows in memory of their own can be faster.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import torch
from taking_turns import Spread, ratios, time_in_turn, write_json
from torch import Tensor

from mmts.data.batch import Batch
from mmts.data.clock import Clock
from mmts.data.gathering import WindowGatherer
from mmts.data.schema import ColumnSchema, DataSchema, StreamSchema
from mmts.data.streams import Stream
from mmts.data.windows import Windows, list_origins
from mmts.training.loader import ShuffledBatches

MINUTE = 60_000_000
NUM_ITEMS = 10
ROWS_PER_ITEM = 20_000
MISSING = 0.02
NUM_READY = 64
"""Batches of which one after the other is copied."""


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--late", action="store_true", help="let streams begin at different times")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases = {
        "one stream": {"load": (15, 192, 7)},
        "three streams": {"load": (15, 192, 7), "weather": (60, 48, 5), "report": (1440, 7, 3)},
    }
    found = []
    for name, streams in cases.items():
        gatherer = make_gatherer(streams, arguments.late)
        for batch in arguments.batch:
            measured = measure(gatherer, batch, arguments.turns)
            print(
                f"{name}, batches of {batch}: {measured['windows_per_second']:,.0f} windows/s, "
                f"{measured['bytes_per_window']:,} bytes each; "
                f"{measured['share_of_copy']:.2f} of the speed of a copy"
            )
            found.append({"case": name, "batch": batch, **measured})
    write_json(arguments.json, {"late": arguments.late, "feeding": found})


def make_gatherer(streams: dict[str, tuple[int, int, int]], late: bool) -> WindowGatherer:
    """Make series of random numbers; streams: minutes between rows, steps and channels of each."""
    torch.manual_seed(0)
    schemas = {name: make_schema(name, *shape) for name, shape in streams.items()}
    schema = DataSchema(streams=schemas, target_stream="load", horizon=96, has_time_zone=True)
    span = ROWS_PER_ITEM * 15 * MINUTE
    series = {name: make_stream(found, span, late) for name, found in schemas.items()}
    windows = list_origins(series["load"], schema, 0, span)
    # From when on all streams have a full context, as far as they begin together.
    ready = 20 * 1440 * MINUTE
    chosen = (windows.origins >= ready) & (windows.origins < span - ready)
    return WindowGatherer(schema, series, Windows(windows.items[chosen], windows.origins[chosen]))


def make_schema(name: str, minutes: int, steps: int, channels: int) -> StreamSchema:
    """Describe one stream; its first column is forecast where it is the load."""
    roles = ["target" if name == "load" else "past", *["past"] * (channels - 1)]
    columns = [ColumnSchema(name=f"{name}{n}", role=r, type="number") for n, r in enumerate(roles)]
    period = minutes * MINUTE
    return StreamSchema(
        columns=tuple(columns),
        time="time",
        item="item",
        has_items=True,
        clock=Clock(every=period),
        stamp="start",
        delay=0,
        known_ahead=None,
        context_steps=steps,
        context_span=steps * period,
        future_steps=0,
    )


def make_stream(schema: StreamSchema, span: int, late: bool) -> Stream:
    """Make a series with some values missing for every item."""
    assert schema.clock is not None
    length = span // schema.clock.every
    items = torch.arange(NUM_ITEMS)
    observed = torch.rand(NUM_ITEMS * length, schema.num_channels) >= MISSING
    later = items * schema.clock.every * (schema.columns[0].role != "target")
    return Stream(
        schema=schema,
        values=torch.randn(observed.shape).masked_fill(~observed, 0.0),
        observed=observed,
        begin=items * length,
        end=(items + 1) * length,
        first_time=later if late else torch.zeros_like(items),
        event_times=torch.zeros(0, dtype=torch.int64),
        available=torch.zeros(0, dtype=torch.int64),
    )


def measure(gatherer: WindowGatherer, size: int, turns: int) -> dict[str, object]:
    """Gather random windows, and copy what was gathered."""
    batches = endless(gatherer, size)

    def gather() -> Batch:
        return next(batches)

    # So many that they do not stay in the processor's cache, as the series do not either.
    ready = cycle([tensors_of(gather()) for _ in range(NUM_READY)])
    copies = [torch.empty(source.shape, dtype=source.dtype) for source in next(ready)]

    def copy() -> None:
        for target, source in zip(copies, next(ready), strict=True):
            target.copy_(source)

    seconds = time_in_turn({"copy": copy, "gather": gather}, turns)
    num_bytes = sum(source.numel() * source.element_size() for source in copies)
    return {
        "windows_per_second": Spread.of([size / s for s in seconds["gather"]]).median,
        "bytes_per_window": num_bytes // size,
        "share_of_copy": ratios(seconds["copy"], seconds["gather"]),
    }


def endless(gatherer: WindowGatherer, size: int) -> Iterator[Batch]:
    """Yield whole batches of windows in random order, for ever."""
    while True:
        yield from ShuffledBatches(gatherer, size, seed=0, epoch=0, max_batches=1000)


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return what a batch holds in memory of its own: values, masks and times that differ."""
    tensors = [batch.target, batch.target_observed]
    for window in batch.streams.values():
        tensors += [found for found in vars(window).values() if found.is_contiguous()]
    return tensors


if __name__ == "__main__":
    main()
