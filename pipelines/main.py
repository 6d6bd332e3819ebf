"""The `mmts` command."""

from __future__ import annotations

from typing import Annotated

import typer

from . import config, runs
from .calibrate import calibrate
from .check import check
from .evaluate import evaluate
from .explain import explain
from .forecast import forecast
from .init import init
from .register import register
from .terminal import run_app
from .train import train
from .tune import tune
from .ui import ui

app = typer.Typer(
    # Without markup the help does not load rich, which takes longer than all the rest.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Train forecasting models on several CSV streams at once.",
)
for command in (init, train, tune, calibrate, forecast, evaluate, explain, register, check, ui):
    app.command()(command)
app.add_typer(runs.app, name="runs")
app.add_typer(config.app, name="config")


def print_version(is_asked: bool) -> None:
    """Print the version and end, where it is asked for."""
    if is_asked:
        from importlib.metadata import version

        print(f"mmts {version('mmts')}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line."""
    run_app(app, "mmts")


if __name__ == "__main__":
    main()
