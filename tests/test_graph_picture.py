"""The drawing of the graph: every edge is there and named, nothing overlaps, widths are honest."""

from __future__ import annotations

import copy
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from mmts.checkpoint import build_model
from mmts.config import ExperimentConfig, load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.interactions.graph import OUT, Node
from mmts.model import MultimodalForecaster
from mmts.plots import plot_graph, to_picture, to_svg
from mmts.plots.graph import KIND_COLORS, MAX_WIDTH, MIN_WIDTH
from mmts.plots.graph_layout import TAG_RADIUS, Box, Branch, GraphLayout, lay_out, sample
from tests.conftest import Command
from tests.factories import make_settings, write_config, write_world

LAYERS = {"load": 6, "weather": 4, "plan": 4, "news": 5, "site": 6}

SIX_KINDS: list[dict[str, Any]] = [
    {"kind": "residual", "from": "load.0", "to": "load.3"},
    {"kind": "film", "from": "weather.2", "to": "load.2"},
    {"kind": "weighted", "from": ["plan.1", "news.1", "site.0"], "to": "load.1"},
    {"kind": "attention", "from": "weather.1", "to": "load.1"},
    {"kind": "joint", "from": "news.1", "to": "weather.2"},
    {"kind": "bottleneck", "from": ["weather.1", "plan.1"], "to": "load.3"},
    {"kind": "film", "name": "late", "from": "site.out", "to": "load.out"},
    {"kind": "residual", "from": "load.out", "to": "news.out"},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def dataset(world: Path) -> Dataset:
    return load_dataset(load_config(world).data)


def build(
    world: Path, dataset: Dataset, interactions: list[dict[str, Any]]
) -> tuple[ExperimentConfig, MultimodalForecaster]:
    settings = copy.deepcopy(make_settings())
    settings["model"]["interactions"] = interactions
    config = load_config(write_config(world.parent, settings))
    return config, build_model(config, dataset.schema, dataset.scaling)


def draw(
    world: Path,
    dataset: Dataset,
    interactions: list[dict[str, Any]],
    strengths: dict[str, float] | None = None,
) -> Figure:
    config, model = build(world, dataset, interactions)
    return plot_graph(config.model, model, strengths)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def lines(figure: Figure, kind: str) -> list[PathPatch]:
    """Return the arrows of one kind of edge."""
    return [
        patch
        for patch in figure.axes[0].patches
        if isinstance(patch, PathPatch) and to_hex(patch.get_edgecolor()) == KIND_COLORS[kind]
    ]


def test_every_edge_is_named_and_every_source_has_an_arrow(world: Path, dataset: Dataset) -> None:
    figure = draw(world, dataset, SIX_KINDS)
    said = texts(figure)
    for place, edge in enumerate(SIX_KINDS, start=1):
        sources = edge["from"] if isinstance(edge["from"], list) else [edge["from"]]
        nodes = f"{' + '.join(sources)} \N{RIGHTWARDS ARROW} {edge['to']}"
        assert sum(nodes in text for text in said) == 1
        # Once in the list, and once on each of its arrows.
        assert said.count(str(place)) - _num_nodes_called(place) == 1 + len(sources)
    assert "late: site.out \N{RIGHTWARDS ARROW} load.out" in said
    assert len(lines(figure, "weighted")) == 3
    assert len(lines(figure, "bottleneck")) == 2
    for kind in KIND_COLORS:
        assert kind in said


def _num_nodes_called(layer: int) -> int:
    encoders = make_settings()["model"]["encoders"]
    return sum(encoder["num_layers"] >= layer for encoder in encoders.values())


def test_what_is_not_built_is_dashed_and_said(world: Path, dataset: Dataset) -> None:
    figure = draw(world, dataset, SIX_KINDS)
    assert "load.out \N{RIGHTWARDS ARROW} news.out  (not built)" in texts(figure)
    solid, idle = sorted(lines(figure, "residual"), key=lambda line: line.get_linestyle() != "-")
    assert solid.get_linestyle() in ("-", "solid")
    assert idle.get_linestyle() not in ("-", "solid")


def test_widths_are_in_proportion_to_strengths(world: Path, dataset: Dataset) -> None:
    edges = [
        {"kind": kind, "from": "weather.1", "to": "load.2"}
        for kind in ("film", "attention", "joint", "residual")
    ]
    names = [f"{edge['kind']}_weather.1_to_load.2" for edge in edges]
    strengths = dict(zip(names, [0.8, 0.4, 0.01, 0.0], strict=True))
    figure = draw(world, dataset, edges, strengths)
    (film,), (attention,), (joint,), (residual,) = (
        lines(figure, str(edge["kind"])) for edge in edges
    )
    assert film.get_linewidth() == MAX_WIDTH
    assert attention.get_linewidth() == pytest.approx(MAX_WIDTH / 2)
    assert joint.get_linewidth() == MIN_WIDTH
    assert residual.get_linestyle() not in ("-", "solid")
    said = texts(figure)
    assert "weather.1 \N{RIGHTWARDS ARROW} load.2  0.400" in said
    assert "strength 0.8" in said


def test_without_edges_the_streams_are_drawn(world: Path, dataset: Dataset) -> None:
    said = texts(draw(world, dataset, []))
    assert {"load (target)", "weather", "head", "out"} <= set(said)


def test_svg_is_the_same_each_time_and_has_no_date(world: Path, dataset: Dataset) -> None:
    one, other = (to_svg(draw(world, dataset, SIX_KINDS)) for _ in range(2))
    assert one == other
    assert b"<dc:date>" not in one
    assert one.startswith(b"<?xml")


def test_the_ending_chooses_the_format() -> None:
    figure = Figure(figsize=(1, 1))
    assert to_picture(figure, "x.SVG").startswith(b"<?xml")
    assert to_picture(figure, "x.png").startswith(b"\x89PNG")


class TestLayout:
    @pytest.fixture(params=[0, 1, 2])
    def layout(self, request: pytest.FixtureRequest) -> GraphLayout:
        """Lay out twenty arrows between five streams of up to six layers."""
        random = np.random.default_rng(request.param)
        branches = []
        for place in range(20):
            source, to = random.permutation(list(LAYERS))[:2]
            first, last = (str(random.integers(1, LAYERS[name] + 1)) for name in (source, to))
            branches.append(Branch(f"edge{place}", Node(str(source), first), Node(str(to), last)))
        return lay_out(LAYERS, "load", branches, [Node("load", OUT)], label_width=1.0)

    def test_keeps_boxes_numbers_and_pluses_apart(self, layout: GraphLayout) -> None:
        tags = [Box(*route.tag, 2 * TAG_RADIUS, 2 * TAG_RADIUS) for route in layout.routes]
        for one, other in combinations([*layout.boxes.values(), *layout.pluses.values()], 2):
            assert not _overlap(one, other)
        for tag in tags:
            assert not any(_overlap(tag, box) for box in layout.boxes.values())
        assert not any(_overlap(one, other) for one, other in combinations(tags, 2))

    def test_leads_no_arrow_through_a_box(self, layout: GraphLayout) -> None:
        for route in layout.routes:
            way = sample(route)[3:-3]
            for box in layout.boxes.values():
                inside = np.abs(way - (box.x, box.y)) < np.array([box.width, box.height]) / 2 - 0.01
                assert not inside.all(axis=1).any()

    def test_puts_the_target_in_the_middle(self, layout: GraphLayout) -> None:
        assert sorted(layout.rows.values())[2] == layout.rows["load"]

    def test_holds_all_that_is_drawn(self, layout: GraphLayout) -> None:
        for route in layout.routes:
            way = sample(route)
            assert layout.bottom <= way[:, 1].min() <= way[:, 1].max() <= layout.top
            assert layout.left <= way[:, 0].min() <= way[:, 0].max() <= layout.right


def _overlap(one: Box, other: Box) -> bool:
    apart = abs(one.x - other.x), abs(one.y - other.y)
    room = (one.width + other.width) / 2, (one.height + other.height) / 2
    return apart[0] < room[0] - 1e-9 and apart[1] < room[1] - 1e-9


def test_check_draws_it_from_a_config(mmts: Command, world: Path, tmp_path: Path) -> None:
    done = mmts("check", world, "--graph", tmp_path / "graph.svg")
    assert done.returncode == 0, done.stderr
    assert "graph.svg: the graph drawn" in done.stdout
    assert (tmp_path / "graph.svg").read_bytes().startswith(b"<?xml")


def test_check_refuses_another_kind_of_picture(mmts: Command, world: Path, tmp_path: Path) -> None:
    done = mmts("check", world, "--graph", tmp_path / "graph.pdf")
    assert done.returncode == 2
    assert "Let its name end in .svg or .png" in done.stderr
    assert not list(tmp_path.iterdir())
