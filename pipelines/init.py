"""`mmts init`: from files of which nothing is known to a config that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import run


def init(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files.")],
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Column to forecast, or FILE.COLUMN by the file's name without ending; by "
            "default the only column of numbers. May be repeated."
        ),
    ] = None,
    horizon: Annotated[
        str | None,
        typer.Option(
            help="How far to forecast: a duration such as 24h or 7d, or a number of rows such as "
            "12; by default what the rate of the target suggests."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="YAML file to write.")] = Path("experiment.yaml"),
    name: Annotated[str | None, typer.Option(help="Name of the experiment.")] = None,
    time_format: Annotated[
        list[str] | None,
        typer.Option(
            help="How times are written where it cannot be told: '%d/%m/%Y %H:%M'. May be repeated."
        ),
    ] = None,
    decimal: Annotated[
        str | None,
        typer.Option(help="Decimal mark where it cannot be told, as in 1.500."),
    ] = None,
) -> None:
    """Look at CSV files and write a config for them, with a reason beside each key."""
    from mmts.errors import OutputError
    from mmts.files import require_folder, write_whole
    from mmts.inspection.draft import draft_experiment

    require_folder(output)
    if output.exists():
        raise OutputError(f"{output}: exists already. Name another by --output, or take it away.")
    draft = draft_experiment(files, target or (), output, horizon, name, time_format or (), decimal)
    write_whole(output, draft.text)
    for line in draft.found:
        print(line)
    print(f"\nwritten: {output}; read what it says beside each key")
    print(f"next:    mmts check {output}")
    print(f"         mmts train {output}")


if __name__ == "__main__":
    run(init)
