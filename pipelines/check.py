"""`mmts check`: what would be trained, what is unusual, or what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .inputs import list_sources, require_apart_from_data
from .terminal import AsJson, imports, print_json, run


def check(
    config: Annotated[Path, typer.Argument(help="YAML file of the experiment.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key: data.horizon=48h. May be repeated."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG file to draw in what each stream holds, and when.")
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option(help="SVG or PNG file to draw in which layers condition each other."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what would be trained and what is unusual about the data, or what is wrong."""
    with imports():
        from mmts.checkpoint import build_model
        from mmts.config import load_config
        from mmts.data.dataset import load_dataset
        from mmts.files import require_folder, require_picture_name, write_whole
        from mmts.summary import summarise

    experiment = load_config(config, overrides or ())
    pictures = [path for path in (plot, graph) if path is not None]
    for path in pictures:
        require_folder(path)
    if graph is not None:
        require_picture_name(graph)
    require_apart_from_data(list_sources(experiment.data), pictures, [config])
    dataset = load_dataset(experiment.data)
    model = build_model(experiment, dataset.schema, dataset.scaling)
    summary = summarise(experiment, dataset, model)
    if as_json:
        print_json(summary.to_json())
    else:
        print(summary.to_text())
    if plot is not None:
        from mmts.plots import plot_coverage, to_png

        write_whole(plot, to_png(plot_coverage(dataset)))
        if not as_json:
            print(f"\n{plot}: the streams drawn")
    if graph is not None:
        from mmts.plots import plot_graph, to_picture

        title = f"{experiment.name}: streams, layers and the edges between them"
        write_whole(graph, to_picture(plot_graph(experiment.model, model, title=title), graph))
        if not as_json:
            print(f"\n{graph}: the graph drawn")


if __name__ == "__main__":
    run(check)
