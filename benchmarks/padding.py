"""How many tokens hold nothing, stream by stream, and what they cost.

python benchmarks/padding.py configs/nyc_departures.yaml --json padding.json

A token holds nothing where no value of its rows was observed: events that did not happen, rows that
were not known yet, gaps, or the rest of a patch. Encoders run over them all the same, as tensors
have one length. What that costs is at most this share of the time of the stream's encoder, forward
and backward; the mask that keeps them out of sight needs it whether they are many or few.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
from taking_turns import Action, Spread, time_in_turn, write_json

from mmts.checkpoint import build_model
from mmts.config import load_config
from mmts.data.batch import StreamWindow
from mmts.data.dataset import load_dataset
from mmts.encoders.base import Encoder
from mmts.model import module_key
from mmts.training.loader import ShuffledBatches
from mmts.training.optimisation import Optimisation

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "config", type=Path, nargs="?", default=ROOT / "configs/nyc_departures.yaml"
    )
    parser.add_argument("--set", action="append", default=[], help="change one key of the config")
    parser.add_argument("--batches", type=int, default=20, help="in which tokens are counted")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)
    config = load_config(arguments.config, ["model.linear=null", *arguments.set])
    dataset = load_dataset(config.data)
    model = build_model(config, dataset.schema, dataset.scaling).train()
    size = config.training.batch_size
    batches = list(ShuffledBatches(dataset.windows("train"), size, 1, 0, arguments.batches))
    encoders: dict[str, Encoder] = {}
    for name in dataset.schema.streams:
        if module_key(name) in model.encoders:
            encoder = model.encoders[module_key(name)]
            assert isinstance(encoder, Encoder)
            encoders[name] = encoder
    optimisation = Optimisation(model, config.training, num_steps=1_000_000)

    def step() -> None:
        optimisation.loss(batches[0]).backward()
        optimisation.descend(0)

    actions: dict[str, Action] = {
        name: both_ways(encoder, batches[0].streams[name]) for name, encoder in encoders.items()
    }
    seconds = time_in_turn({"step": step, **actions}, arguments.turns)
    whole = Spread.of(seconds["step"]).median
    found = []
    for name, encoder in encoders.items():
        with torch.no_grad():
            grids = [encoder.embed(batch.streams[name]).grid for batch in batches]
        observed = torch.cat([grid.observed for grid in grids])
        rows = torch.cat([batch.streams[name].observed.any(dim=-1) for batch in batches])
        row: dict[str, Any] = {
            "stream": name,
            "encoder": config.model.encoders[name].kind,
            "tokens": observed.shape[1],
            "empty_tokens": 1 - float(observed.float().mean()),
            "rows": rows.shape[1],
            "empty_rows": 1 - float(rows.float().mean()),
            "milliseconds": Spread.of([1e3 * s for s in seconds[name]]),
        }
        row["share_of_step"] = row["empty_tokens"] * row["milliseconds"].median / (1e3 * whole)
        found.append(row)
        print(
            f"{name:12} {row['encoder']:9} {row['empty_tokens']:6.1%} of {row['tokens']} tokens "
            f"hold nothing ({row['empty_rows']:.1%} of {row['rows']} rows): at most "
            f"{row['share_of_step']:.1%} of a step"
        )
    write_json(
        arguments.json,
        {
            "config": config.name,
            "step_milliseconds": Spread.of([1e3 * s for s in seconds["step"]]),
            "padding": found,
        },
    )


def both_ways(encoder: Encoder, window: StreamWindow) -> Action:
    """Return what runs an encoder without edges, forward and backward."""

    def run() -> None:
        tokens = encoder.embed(window)
        for layer in range(1, len(encoder.layers) + 1):
            tokens = encoder.run_layer(layer, tokens)
        encoder.run_norm(tokens).values.square().mean().backward()

    return run


if __name__ == "__main__":
    main()
