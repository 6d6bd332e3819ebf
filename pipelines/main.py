"""The `mmts` command."""

from __future__ import annotations

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


def main() -> None:
    """Run the command line."""
    run_app(app, "mmts")


if __name__ == "__main__":
    main()
