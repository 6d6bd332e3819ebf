"""When layers must condition each other across streams: tasks whose best error is known.

python benchmarks/cross_layer.py --variants none late-attention film@2 ladder --seeds 3
python benchmarks/cross_layer.py --task switches --variants none beside-all late-film film@1

`regimes.py` describes the task. What stream A knows must reach stream B before B's layers multiply
neighbouring tokens. In `--task regimes` it stands in A's tokens; in `--task switches` A's layers
must compute it from all of its tokens up to now, so that A's embedding is as useless to B's first
layers as A's output is to its last. Every variant is the shipped model with the same kinds of
encoders and head, optimiser, number of steps and windows, drawn afresh for every step. They differ
in the interactions, and in a wider B where else they would have fewer weights than the others.
With several `--learning-rate`, each variant takes the one with the least mean error on windows of
its own for validation. Printed is the mean squared error on 20,000 further windows, beside the
floor and the best that is possible without A, and of every edge what it costs to switch it off.
`--json FILE` keeps every run, and does none twice. Several numbers of `--regimes` make a sweep.

`KIND@3` is one edge from A's output into layer 3 of B, `KIND@0` into its embedding, `late-KIND`
into its output, before the head; `early-KIND@1` starts from A's embedding. `-wide` gives any of
them a head of twice the width; `+noise` adds the same edge from the noise of stream N. `beside`
writes the columns of A's latest event beside B's own, as a joined table would, `beside-all` those
of all events up to now. Presets have their defaults, and read both other streams.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codes import CODES
from cross_runs import NUM_TEST, Run, describe_model, perform_all
from cross_tables import describe, list_edges, list_errors, list_sweep, write
from cross_variants import SETUPS, list_variants
from regimes import RegimeTask

LEAK = 4
"""Standard errors below the floor that no honest model reaches."""


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
    """Train what is missing, keep it, and print the tables."""
    arguments = parse_arguments()
    tasks = {
        n: RegimeTask(
            n, arguments.channels, arguments.tokens, arguments.world, CODES[arguments.task](n)
        )
        for n in arguments.regimes
    }
    for task in tasks.values():
        print("\n".join(describe(task, 10 * NUM_TEST)), end="\n\n")
    runs = list_runs(arguments)
    kept: list[dict[str, Any]] = []
    if arguments.json and arguments.json.exists():
        kept = json.loads(arguments.json.read_text())
    missing = [run for run in runs if find(kept, run) is None]
    for found in perform_all(missing, arguments.jobs, arguments.threads):
        print(
            f"{found['variant']}, {found['regimes']} regimes, seed {found['seed']}, "
            f"{found['learning_rate']:g}: {found['test']:.4f}, "
            f"{1e3 * found['seconds'] / found['steps']:.1f} ms a step of CPU",
            file=sys.stderr,
        )
        kept.append(found)
        if arguments.json:
            written = arguments.json.with_suffix(".new")
            written.write_text(json.dumps(kept, indent=1) + "\n")
            written.replace(arguments.json)
        check_floor(found, tasks[found["regimes"]].floor)
    measured = [found for run in runs if (found := find(kept, run)) is not None]
    for n in tasks:
        part = [found for found in measured if found["regimes"] == n]
        print(f"{n} regime{'s' if n > 1 else ''}\n")
        print(write(list_errors(part), arguments.markdown), end="\n\n")
        edges = list_edges(part)
        if len(edges) > 1:
            print(write(edges, arguments.markdown), end="\n\n")
    if len(tasks) > 1:
        print(write(list_sweep(measured, list(tasks.values())), arguments.markdown))


def list_runs(arguments: argparse.Namespace) -> list[Run]:
    """Return every run that is asked for."""
    world = {name: getattr(arguments, name) for name in ("channels", "tokens", "world")}
    models = {
        (variant, n): describe_model(
            arguments.task, variant, arguments.stream_dropout, regimes=n, **world
        )
        for n in arguments.regimes
        for variant in arguments.variants
    }
    return [
        Run(
            task=arguments.task,
            variant=variant,
            seed=seed,
            learning_rate=rate,
            steps=arguments.steps,
            batch=arguments.batch,
            regimes=n,
            model=models[variant, n],
            **world,
        )
        for seed in range(1, arguments.seeds + 1)
        for n in arguments.regimes
        for variant in arguments.variants
        for rate in arguments.learning_rate
    ]


def find(kept: list[dict[str, Any]], run: Run) -> dict[str, Any] | None:
    """Return what was measured in a run, if it was done."""
    wanted = asdict(run)
    return next((f for f in kept if {name: f.get(name) for name in wanted} == wanted), None)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=list(SETUPS), default="regimes")
    parser.add_argument("--variants", nargs="+", default=["none", "late-attention", "ladder"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="by default as many as the task is known to need")
    parser.add_argument("--batch", type=int, default=96, help="windows per step")
    parser.add_argument("--learning-rate", type=float, nargs="+", default=[3e-3])
    parser.add_argument("--stream-dropout", type=float, default=0.0)
    parser.add_argument("--regimes", type=int, nargs="+", help="numbers of regimes")
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=12, help="even, and a multiple of three")
    parser.add_argument("--world", type=int, default=1, help="seed of the regimes' vectors")
    parser.add_argument("--json", type=Path, help="file of all runs; those in it are not repeated")
    parser.add_argument("--markdown", action="store_true", help="print tables for a document")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, default=1, help="per process")
    arguments = parser.parse_args()
    setup, known = SETUPS[arguments.task], list_variants(arguments.task)
    arguments.steps = arguments.steps or setup.steps
    arguments.regimes = arguments.regimes or [setup.regimes]
    unknown = [name for name in arguments.variants if name not in known]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}. There are: {', '.join(known)}")
    if arguments.task == "switches" and any(n & (n - 1) for n in arguments.regimes):
        parser.error("switches make 1, 2, 4, 8, ... regimes, and no other number")
    return arguments


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
