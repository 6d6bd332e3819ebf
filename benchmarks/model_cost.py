"""What encoders and edges cost in a training step.

python benchmarks/model_cost.py --json model_cost.json
python benchmarks/model_cost.py --compile --device cuda

A step is forward, backward, clipping and AdamW on one ready batch. Encoders: of the target's
stream, 192 steps of 7 channels, with nothing beside it. Edges: one from a second stream of 48 steps
into the middle of a patch encoder, beside the same model without it; both streams run in both.
`bf16` is the same by mixed precision, `compiled` by `training.compile`. All take turns, and ratios
are taken within each turn.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from feeding import make_gatherer
from taking_turns import Action, Spread, ratios, time_in_turn, write_json

from mmts.data.batch import Batch
from mmts.data.gathering import WindowGatherer
from mmts.model import ModelConfig, MultimodalForecaster
from mmts.training.config import TrainingConfig
from mmts.training.module import count_parameters
from mmts.training.optimisation import Optimisation

ENCODERS: dict[str, dict[str, Any]] = {
    "linear": {"kind": "linear", "dim": 64, "num_layers": 2},
    "mlp": {"kind": "mlp", "dim": 64, "num_layers": 2},
    "patch": {"kind": "patch", "dim": 64, "num_layers": 3, "patch_length": 16},
    "conv": {"kind": "conv", "dim": 64, "num_layers": 3},
    "recurrent": {"kind": "recurrent", "dim": 64, "num_layers": 2},
    "variate": {"kind": "variate", "dim": 64, "num_layers": 2},
}
EDGES: dict[str, dict[str, Any]] = {
    "none": {},
    "residual": {"kind": "residual"},
    "film": {"kind": "film"},
    "weighted": {"kind": "weighted"},
    "attention": {"kind": "attention"},
    "joint": {"kind": "joint"},
    "bottleneck": {"kind": "bottleneck"},
}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--encoders", nargs="*", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--edges", nargs="*", choices=list(EDGES), default=list(EDGES))
    parser.add_argument("--compile", action="store_true", help="measure compiled models as well")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    one, two = (
        make_gatherer({"load": (15, 192, 7), **others}, late=False)
        for others in ({}, {"weather": (60, 48, 5)})
    )
    target = ENCODERS["patch"]
    other = {"kind": "conv", "dim": 32, "num_layers": 2}
    found = {
        "encoders": {
            name: (one, {"encoders": {"load": encoder}, "interactions": []})
            for name, encoder in ENCODERS.items()
            if name in arguments.encoders
        },
        "edges": {
            name: (
                two,
                {
                    "encoders": {"load": target, "weather": other},
                    # Read by the head, so that it runs without an edge too.
                    "head": {"kind": "quantile", "reads": ["weather.out"]},
                    "interactions": [{**edge, "from": "weather.1", "to": "load.2"}] if edge else [],
                },
            )
            for name, edge in EDGES.items()
            if name in arguments.edges
        },
    }
    written = {}
    for title, models in found.items():
        if not models:
            continue
        print(f"{title}, batches of {arguments.batch} on {arguments.device}")
        written[title] = compare(models, arguments)
    write_json(arguments.json, written)


def compare(
    models: dict[str, tuple[WindowGatherer, dict[str, Any]]], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure models in turn; the first is what the others are held against."""
    ways = ["plain", "bf16", *(["compiled"] if arguments.compile else [])]
    actions, weights = {}, {}
    for name, (gatherer, settings) in models.items():
        for way in ways:
            actions[f"{name} {way}"], weights[name] = prepare(gatherer, settings, way, arguments)
    seconds = time_in_turn(actions, arguments.turns)
    first = next(iter(models))
    rows = []
    for name in models:
        plain = seconds[f"{name} plain"]
        row: dict[str, Any] = {
            "name": name,
            "weights": weights[name],
            "milliseconds": Spread.of([1e3 * s for s in plain]),
            "of_first": ratios(plain, seconds[f"{first} plain"]),
            **{way: ratios(seconds[f"{name} {way}"], plain) for way in ways[1:]},
        }
        rows.append(row)
        others = "".join(f", {way} {row[way]:.2f} of that" for way in ways[1:])
        print(
            f"  {name:11}{weights[name]:9,} weights  {row['milliseconds']:.2f} ms a step, "
            f"{row['of_first']:.2f} of {first}{others}"
        )
    return rows


def prepare(
    gatherer: WindowGatherer, settings: dict[str, Any], way: str, arguments: argparse.Namespace
) -> tuple[Action, int]:
    """Build a model; returns a step of it, and its number of weights."""
    device = torch.device(arguments.device)
    config = ModelConfig.model_validate({"head": {"kind": "quantile"}, **settings})
    sizes: dict[str, dict[str, int]] = {name: {} for name in gatherer.schema.streams}
    model = MultimodalForecaster(gatherer.schema, config, sizes, seed=1).to(device).train()
    training = TrainingConfig(compile=way == "compiled")
    optimisation = Optimisation(model, training, num_steps=10_000)
    batch: Batch = gatherer.to(device).gather(torch.arange(arguments.batch, device=device))

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=way == "bf16"):
            loss = optimisation.loss(batch)
        loss.backward()
        optimisation.descend(0)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step, count_parameters(model)


if __name__ == "__main__":
    main()
