"""`mmts config`: show a config with all defaults, or write its JSON Schema or its reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .terminal import run_app

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Show a config with all its defaults, or write its JSON Schema.",
)


@app.command()
def show(
    config: Annotated[Path, typer.Argument(help="YAML file of the experiment.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key: training.max_epochs=5. May be repeated."),
    ] = None,
) -> None:
    """Print the resolved config: every default, presets as plain edges."""
    from mmts.config import load_config

    print(load_config(config, overrides or ()).to_yaml(), end="")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a config, for editors."""
    from mmts.config import ExperimentConfig

    print(json.dumps(ExperimentConfig.model_json_schema(by_alias=True), indent=2))


@app.command()
def reference() -> None:
    """Print every key with its type, its default and what it does, as Markdown."""
    from mmts.config_reference import write_reference

    print(write_reference(), end="")


if __name__ == "__main__":
    run_app(app)
