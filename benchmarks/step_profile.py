"""Where the time of one training step goes, before and after.

python benchmarks/step_profile.py --picture docs/step_profile.svg --json step_profile.json

before  what is written first: windows cut one at a time for a `DataLoader`, automatic optimisation
        by Lightning with its bar, its CSV log and a loss logged in every step
after   `mmts train` with all that a user has on: progress bar, MLflow, history, checkpoints

Both train the same model of the same config on a CPU, and that the batches of the one are those of
the other is checked first. Times are per optimiser step, from the beginning of an epoch to its last
step; they take turns. Clocks stand around the parts, and what none of them sees is `everything
else`. The linear path is not fitted, as its numbers cost the same whatever they are.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from naive_training import NaiveModule, SampleDataset, naive_batches, stack
from part_clock import (
    BACKWARD,
    GATHERING,
    HEAD,
    LINEAR,
    LOSS,
    OPTIMISER,
    REST_OF_MODEL,
    SCALING,
    PartClock,
    watch_model,
)
from taking_turns import Spread, write_json
from training_overhead import EpochClock

from mmts import model as forecaster
from mmts.checkpoint import build_model
from mmts.config import ExperimentConfig, load_config
from mmts.data.batch import Batch, StreamWindow
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.gathering import WindowGatherer
from mmts.experiment import train
from mmts.files import write_whole
from mmts.layers.window_norm import WindowScale
from mmts.model import MultimodalForecaster
from mmts.plots.style import GRID, MUTED, new_figure, style_axes, to_picture
from mmts.training.module import ForecastingModule
from mmts.training.optimisation import Optimisation
from mmts.training.quiet import quiet_lightning

ROOT = Path(__file__).resolve().parent.parent
BEFORE, AFTER = "before", "after"
ELSE = "everything else"
COLOURS = (
    "#d1662f", "#e3a36f", "#1f6fb4", "#4f93c9", "#7fb3da", "#b3d2ea", "#3f8f5f", "#6fb287",
    "#a3d0b3", "#c7b94a", "#8f6bb0", "#b79ace", "#5a6472", "#343b46", "#c24d6b",
)  # fmt: skip

Profile = dict[str, list[float]]
"""Milliseconds a step by part, one value a turn."""


def main() -> None:
    """Measure both, print, draw and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs/nyc_departures.yaml")
    parser.add_argument("--steps", type=int, default=25, help="of one epoch")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="SVG or PNG file to draw")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)
    overrides = [
        "training.max_epochs=1", f"training.steps_per_epoch={arguments.steps}",
        "training.accelerator=cpu", "model.linear={reads: all}",
    ]  # fmt: skip
    config = load_config(arguments.config, overrides)
    dataset = load_dataset(config.data)
    compare_batches(dataset)
    model = build_model(config, dataset.schema, dataset.scaling)
    found: dict[str, Profile] = {BEFORE: {}, AFTER: {}}
    for turn in range(arguments.turns + 1):
        for way, run in ((BEFORE, run_naive), (AFTER, run_mmts)):
            with tempfile.TemporaryDirectory() as folder:
                taken = run(dataset, config, copy.deepcopy(model), Path(folder))
            # The first turn warms up.
            for part, seconds in taken.items() if turn else ():
                found[way].setdefault(part, []).append(1e3 * seconds / arguments.steps)
    report(found)
    if arguments.picture is not None:
        figure = draw(found, config)
        write_whole(arguments.picture, to_picture(figure, arguments.picture))
    write_json(
        arguments.json,
        {
            "config": config.name,
            "batch": config.training.batch_size,
            "milliseconds": {
                way: {part: Spread.of(own) for part, own in in_order(profile)}
                for way, profile in found.items()
            },
            "step": {way: Spread.of(totals(profile)) for way, profile in found.items()},
        },
    )


def compare_batches(dataset: Dataset, number: int = 64) -> None:
    """Make sure that both ways feed the same windows."""
    samples = SampleDataset(dataset, PartClock())
    places = torch.linspace(0, len(samples) - 1, number).long()
    naive = stack([samples[int(place)] for place in places])
    ours = dataset.windows("train").gather(places)
    for name, window in ours.streams.items():
        for field in fields(StreamWindow):
            found = getattr(naive.streams[name], field.name)
            wanted = getattr(window, field.name)
            torch.testing.assert_close(found, wanted.expand(found.shape), rtol=1e-4, atol=1e-3)
    for field in fields(Batch):
        if field.name != "streams":
            found, wanted = getattr(naive, field.name), getattr(ours, field.name)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


def run_naive(
    dataset: Dataset, config: ExperimentConfig, model: MultimodalForecaster, folder: Path
) -> dict[str, float]:
    """Return seconds by part of what is written first."""
    parts, epoch = PartClock(), EpochClock()
    batches = naive_batches(dataset, config.training, parts)
    fetch = torch.utils.data.dataloader._SingleProcessDataLoaderIter.__next__

    def fetch_timed(self: Any) -> Any:
        with parts.part(GATHERING):
            return fetch(self)

    module = NaiveModule(watch_model(parts, model.train()), config.training, parts)
    loader = torch.utils.data.dataloader._SingleProcessDataLoaderIter
    with (
        quiet_lightning(),
        mock.patch.object(loader, "__next__", fetch_timed),
        watch_scaling(parts),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        trainer = pl.Trainer(
            max_epochs=1,
            limit_train_batches=config.training.steps_per_epoch,
            accelerator="cpu",
            devices=1,
            gradient_clip_val=config.training.gradient_clip,
            callbacks=[epoch],
            logger=pl.loggers.CSVLogger(folder),
            enable_checkpointing=False,
        )
        trainer.fit(module, batches)
    return with_rest(parts.seconds, epoch.per_step(1).seconds)


def run_mmts(
    dataset: Dataset, config: ExperimentConfig, model: MultimodalForecaster, folder: Path
) -> dict[str, float]:
    """Return seconds by part of a whole training by mmts."""
    parts = PartClock()
    at_end: dict[str, float] = {}
    gather, begin = WindowGatherer.batches, ForecastingModule.on_train_epoch_start

    def batches(self: WindowGatherer, *arguments: Any) -> Iterator[Batch]:
        yield from parts.around_each(GATHERING, gather(self, *arguments))

    def begin_anew(self: ForecastingModule) -> None:
        begin(self)
        # Before the first epoch, what training starts from was validated.
        parts.seconds.clear()

    def keep(self: ForecastingModule) -> None:
        at_end.clear()
        at_end.update(parts.seconds)

    watch_model(parts, model)
    timed = {
        (Optimisation, "loss"): LOSS,
        (Optimisation, "descend"): OPTIMISER,
        (pl.LightningModule, "backward"): BACKWARD,
    }
    with contextlib.ExitStack() as stack:
        for (owner, method), part in timed.items():
            call = parts.around(part, getattr(owner, method))
            stack.enter_context(mock.patch.object(owner, method, call))
        for owner, method, call in (
            (WindowGatherer, "batches", batches),
            (ForecastingModule, "on_train_epoch_start", begin_anew),
            (ForecastingModule, "on_validation_start", keep),
        ):
            stack.enter_context(mock.patch.object(owner, method, call))
        started = mock.patch(
            "mmts.training.linear_start.start_model", lambda config, *_: (config, model)
        )
        stack.enter_context(started)
        stack.enter_context(watch_scaling(parts))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        train(config, folder / "run", progress_bar=True)
    lines = (folder / "run/history.jsonl").read_text().splitlines()
    rate = json.loads(lines[-1])["train/windows_per_second"]
    assert config.training.steps_per_epoch is not None
    windows = config.training.steps_per_epoch * config.training.batch_size
    return with_rest(at_end, windows / rate)


@contextlib.contextmanager
def watch_scaling(parts: PartClock) -> Iterator[None]:
    """Put clocks around the scaling that the model does by itself."""
    with contextlib.ExitStack() as stack:
        for name in ("measure_scale", "normalise_window", "unit_scale"):
            call = parts.around(SCALING, getattr(forecaster, name))
            stack.enter_context(mock.patch.object(forecaster, name, call))
        for name in ("restore", "widen"):
            call = parts.around(SCALING, getattr(WindowScale, name))
            stack.enter_context(mock.patch.object(WindowScale, name, call))
        yield


def with_rest(parts: dict[str, float], whole: float) -> dict[str, float]:
    """Add what no clock has seen."""
    named = {name: seconds for name, seconds in parts.items() if name}
    return {**named, ELSE: whole - sum(named.values())}


def totals(profile: Profile) -> list[float]:
    """Return milliseconds of a whole step, one value a turn."""
    return [sum(turn) for turn in zip(*profile.values(), strict=True)]


def in_order(profile: Profile) -> list[tuple[str, list[float]]]:
    """Order parts as they follow in a step."""
    order = [GATHERING, SCALING, LINEAR, "encoder", "edge", REST_OF_MODEL, HEAD, LOSS, BACKWARD,
             OPTIMISER, ELSE]  # fmt: skip

    def place(part: str) -> int:
        return next(n for n, name in enumerate(order) if part == name or part.startswith(name))

    return sorted(profile.items(), key=lambda entry: place(entry[0]))


def report(found: dict[str, Profile]) -> None:
    """Print both side by side."""
    print(f"{'milliseconds a step':58}  {BEFORE:>24}  {AFTER:>24}")
    for part, own in in_order(found[AFTER]):
        print(f"{part:58}  {_cell(found[BEFORE].get(part)):>24}  {_cell(own):>24}")
    whole = [_cell(totals(found[way])) for way in (BEFORE, AFTER)]
    print(f"{'step':58}  {whole[0]:>24}  {whole[1]:>24}")


def _cell(values: list[float] | None) -> str:
    return "" if values is None else f"{Spread.of(values):.2f}"


def draw(found: dict[str, Profile], config: ExperimentConfig) -> Figure:
    """Draw a bar for each way, part by part."""
    title = f"One training step of {config.name}, {config.training.batch_size} windows"
    figure = new_figure(9.5, 3.9, title)
    axes = figure.subplots()
    style_axes(axes)
    axes.grid(axis="y", visible=False)
    for row, way in enumerate((BEFORE, AFTER)):
        left = 0.0
        for (part, own), colour in zip(in_order(found[way]), cycle(COLOURS)):
            width = max(0.0, median(own))
            label = part if way == AFTER else None
            shade = GRID if part == ELSE else colour
            axes.barh(row, width, left=left, height=0.6, color=shade, label=label)
            left += width
        axes.text(left, row, f"  {left:.0f} ms", va="center", fontsize=9, color=MUTED)
    axes.set_yticks([0, 1], ["one window at a time,\nplain Lightning", "mmts train"])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("milliseconds, median over turns")
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8, handlelength=1.2)
    return figure


if __name__ == "__main__":
    main()
