"""`mmts forecast`: from a checkpoint and CSV files to a forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .addresses import CheckpointArgument, RunsOption, UriOption, load_forecaster
from .inputs import require_apart_from_data
from .terminal import AsJson, Quiet, imports, print_json, run

if TYPE_CHECKING:
    import pandas as pd


def forecast(
    checkpoint: CheckpointArgument,
    output: Annotated[Path, typer.Option(help="CSV file to write.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Other file for a stream: weather=new.csv; weather= leaves it out. "
            "May be repeated. Streams not named are read from where they were in training."
        ),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            help="Time at which the forecast begins; by default the end of what is known."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Forecast again from every step after --origin up to this time, "
            "each time from what was known then."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file to draw the forecast in.")] = None,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Take no notice of a calibration.")
    ] = False,
    runs: RunsOption = Path("runs"),
    uri: UriOption = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Forecast every item from what was known at the origin."""
    with imports():
        from mmts.data.findings.finding import say_count
        from mmts.errors import DataError, OutputError
        from mmts.files import (
            require_csv_name,
            require_folder,
            write_table,
            write_whole,
        )
        from mmts.forecasting import choose_sources

    if plot is not None and until is not None:
        raise OutputError("--plot draws one forecast of each item. Leave out --until, or --plot.")
    require_csv_name(output)
    for file in (output, plot):
        if file is not None:
            require_folder(file)
    forecaster = load_forecaster(checkpoint, runs, uri, calibrated=not uncalibrated)
    sources = choose_sources(forecaster, data or ())
    # Also from what it was trained on, where this forecast reads other files.
    data_files = map(str, [*sources.values(), *forecaster.default_sources().values()])
    require_apart_from_data(data_files, [output, *([plot] if plot else [])], [checkpoint])
    try:
        table = forecaster.predict(sources, origin, until)
    except DataError as error:
        if " of the stream" not in str(error) and " for the stream" not in str(error):
            raise
        raise DataError(
            f"{error}\n  Settings of a stream are those of its training, and stand in the "
            "checkpoint: for a forecast, write the file as that one was."
        ) from None
    write_table(output, table)
    if plot is not None:
        from mmts.plots import forecast_picture

        write_whole(plot, forecast_picture(forecaster, table, sources))
    if as_json:
        print_json(_to_json(table, output, plot))
    elif not quiet:
        items = say_count(table["item_id"].nunique(), "item")
        print(f"{output}: {items}, {table['origin'].min()} to {table['timestamp'].max()}")
        if plot is not None:
            print(f"{plot}: the forecast drawn")


def _to_json(table: pd.DataFrame, output: Path, plot: Path | None) -> dict[str, Any]:
    """Return what has been written; the forecast itself stands in the file."""
    return {
        "output": str(output),
        "plot": None if plot is None else str(plot),
        "rows": len(table),
        "items": table["item_id"].unique().tolist(),
        "targets": table["target"].unique().tolist(),
        "steps": int(table["step"].max()),
        "columns": list(table.columns),
        "first_origin": str(table["origin"].min()),
        "last_origin": str(table["origin"].max()),
        "last_timestamp": str(table["timestamp"].max()),
    }


if __name__ == "__main__":
    run(forecast)
