"""The parts of the measurement of performance: the command of each, and how long it takes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One command.

    script: in `benchmarks/`. arguments: of the real measurement. quick: instead of them, to see
    that it runs. minutes: that the real one takes on two cores, about.
    json_option: by which the file for what was measured is named.
    """

    script: str
    minutes: float
    arguments: str = ""
    quick: str = ""
    json_option: str = "--json"

    def words(self, is_quick: bool = False) -> list[str]:
        """Return the command without the interpreter, word by word."""
        given = self.quick if is_quick else self.arguments
        return [f"benchmarks/{self.script}", *shlex.split(given)]

    def command(self, is_quick: bool = False) -> str:
        """Return the command as a person types it."""
        return " ".join(["python", *self.words(is_quick)])


PARTS = {
    "feeding": Part("feeding.py", 0.7, quick="--turns 2 --batch 32"),
    "overhead": Part(
        "training_overhead.py",
        13.0,
        "--turns 15 --seconds 1.5",
        "--turns 2 --seconds 0.2 --models linear --batch 32",
    ),
    "added": Part(
        "training_overhead.py",
        13.0,
        "--models rest long-rest --turns 15 --seconds 1.5",
        "--turns 2 --seconds 0.2 --models rest --batch 32",
    ),
    "profile": Part(
        "step_profile.py",
        1.5,
        "--picture docs/step_profile.svg",
        "--turns 2 --steps 2",
    ),
    "growth": Part("growth.py", 4.5, "--turns 3 --steps 60", "--turns 2 --steps 5"),
    "cache": Part("large_csv.py", 1.5, "--gigabytes 1", "--gigabytes 0.02", "--output"),
    "model": Part("model_cost.py", 1.5, "--turns 7", "--turns 2 --batch 4"),
    "compile": Part(
        "model_cost.py",
        1.2,
        "--turns 7 --compile --encoders patch --edges",
        "--turns 2 --batch 4 --compile --encoders linear --edges",
    ),
    "precision": Part("precision.py", 4.0, "--epochs 1", "--seeds 2 --steps 2"),
    "padding": Part("padding.py", 0.3, quick="--turns 2 --batches 2"),
    "grouping": Part("grouping.py", 0.5, "--turns 5", "--turns 2 --dims 4 --batch 4"),
    "threads": Part("threads.py", 1.0, "--turns 5", "--turns 2 --models 'mlp 16' --batch 4"),
    "gpu": Part("gpu.py", 3.0, "--seconds 1.5", quick="--seconds 0.1"),
    "startup": Part("startup.py", 2.0, "--turns 4", "--turns 2 --items 10 --rows 100"),
    "processes": Part("processes.py", 1.0, quick="--steps 2"),
}
"""In the order in which the document tells of them."""
