"""`mmts check`: what would be trained, or what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import run


def check(
    config: Annotated[Path, typer.Argument(help="YAML file of the experiment.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key: data.horizon=48h. May be repeated."),
    ] = None,
) -> None:
    """Say what would be trained, or what is wrong."""
    from mmts.checkpoint import build_model
    from mmts.config import load_config
    from mmts.data.dataset import load_dataset
    from mmts.summary import summarise

    experiment = load_config(config, overrides or ())
    dataset = load_dataset(experiment.data)
    model = build_model(experiment, dataset.schema, dataset.scaling)
    print(summarise(experiment, dataset, model))


if __name__ == "__main__":
    run(check)
